using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;
using Platform.Contracts;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Messaging;

public static class MessagingHosting
{
    /// <summary>The outbox, its relay, and the means to consume. Needs <c>AddPostgres</c>: outbox and inbox live in the service's database.</summary>
    /// <param name="service">The service's resource name, the first part of its queues' names.</param>
    public static IHostApplicationBuilder AddMessaging(this IHostApplicationBuilder builder, string service)
    {
        builder.AddSettings<MessagingOptions>();
        builder.AddRabbitMQClient("messaging");
        builder.AddMigrations("messaging", typeof(MessagingHosting).Assembly);
        builder.Services.TryAddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(new BusMember(service));
        builder.Services.AddSingleton<Broker>();
        builder.Services.AddSingleton<ConsumerMetrics>();
        builder.Services.AddHostedService<Relay>();
        builder.Services.AddHostedService<InboxWorker>();
        return builder;
    }

    /// <summary>One consumer per message type and service; the pair must be listed in <see cref="Subscriptions"/>.</summary>
    public static IHostApplicationBuilder AddConsumer<TMessage, TConsumer>(this IHostApplicationBuilder builder)
        where TMessage : IMessage
        where TConsumer : class, IConsumer<TMessage>
    {
        builder.Services.AddSingleton<TConsumer>();
        builder.Services.AddHostedService(services => new ConsumerWorker<TMessage, TConsumer>(
            services.GetRequiredService<TConsumer>(),
            services.GetRequiredService<NpgsqlDataSource>(),
            services.GetRequiredService<Broker>(),
            services.GetRequiredService<BusMember>(),
            services.GetRequiredService<MessagingOptions>(),
            services.GetRequiredService<ConsumerMetrics>(),
            services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<ILogger<TConsumer>>()));
        return builder;
    }

    /// <summary>The audit message for something that <paramref name="caller"/> did in the current request.</summary>
    /// <param name="realm">Realm of the thing acted on; by default the caller's.</param>
    public static Audited Did(
        this Caller caller,
        string action,
        string targetType,
        string targetId,
        DateTimeOffset at,
        string? realm = null,
        IReadOnlyDictionary<string, string>? details = null) =>
        new(
            realm ?? caller.RealmOfNewData,
            caller.Subject,
            caller.Role.ToString().ToLowerInvariant(),
            action,
            targetType,
            targetId,
            AuditOutcome.Success,
            at,
            caller.Address,
            Correlation.Current,
            Activity.Current?.TraceId.ToString(),
            Details: details);
}
