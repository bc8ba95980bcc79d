using System.Security.Claims;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.BearerToken;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.DataProtection.KeyManagement;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Platform.ServiceDefaults;

/// <summary>
/// Internal tickets: the gateway exchanges a credential for one, a service that calls on its own account mints one, and every service
/// verifies them by itself. They are tokens of the framework's BearerToken scheme; the key ring is shared through PostgreSQL
/// (<see cref="TicketKeyRing"/>). No service trusts the network.
/// </summary>
public static class Tickets
{
    public const string Scheme = "ticket";

    /// <summary>Long enough for the longest request, short enough that a revoked key is out within a minute.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(60);

    /// <summary>Ticket authentication, the shared key ring, and the policies of <see cref="Access"/>; nothing is anonymous unless it says so.</summary>
    public static IHostApplicationBuilder AddTickets(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<TicketKeyOptions>();
        builder.Services.TryAddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(services => new TicketKeyRing(
            builder.Configuration.GetConnectionString("identity")
                ?? throw new InvalidOperationException("ConnectionStrings:identity is missing; it names the database with the key ring of the internal tickets."),
            services.GetRequiredService<TicketKeyOptions>()));
        builder.Services.AddHostedService<TicketKeys>();
        // Tickets validate across processes only with the same application name as well as the same ring.
        builder.Services.AddDataProtection().SetApplicationName("platform");
        builder.Services.AddOptions<KeyManagementOptions>().Configure<TicketKeyRing>((options, ring) =>
        {
            options.XmlRepository = ring;
            options.XmlEncryptor = ring;
        });
        builder.Services.AddAuthentication(Scheme).AddBearerToken(Scheme, options => options.BearerTokenExpiration = Lifetime);
        builder.Services.AddSingleton<IAuthorizationHandler, AccessHandler>();
        builder.Services.AddAuthorizationBuilder().AddAccessPolicies();
        builder.Services.AddHttpContextAccessor();
        builder.Services.AddSingleton<TicketMint>();
        builder.Services.AddTransient<ServiceTicketHandler>();
        return builder;
    }
}

/// <summary>Makes tickets.</summary>
public sealed class TicketMint(IOptionsMonitor<BearerTokenOptions> options, TimeProvider clock)
{
    public string Mint(Caller caller)
    {
        var identity = new ClaimsIdentity(caller.ToClaims(), Tickets.Scheme, Caller.SubjectClaim, Caller.RoleClaim);
        var properties = new AuthenticationProperties { ExpiresUtc = clock.GetUtcNow() + Tickets.Lifetime };
        return options.Get(Tickets.Scheme).BearerTokenProtector.Protect(
            new AuthenticationTicket(new ClaimsPrincipal(identity), properties, $"{Tickets.Scheme}:AccessToken"));
    }
}

/// <summary>
/// Puts a ticket of role <c>service</c> on a call to another service. Its realm is the one that the call names with <c>?realm=</c>,
/// so that a bug in one service's query cannot read another realm's data; a call for all realms names none.
/// </summary>
public sealed class ServiceTicketHandler(TicketMint mint, IHostEnvironment environment) : DelegatingHandler
{
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var query = Microsoft.AspNetCore.WebUtilities.QueryHelpers.ParseQuery(request.RequestUri!.Query);
        var realm = query.TryGetValue("realm", out var named) && !string.IsNullOrEmpty(named) ? named.ToString() : Realm.All;
        request.Headers.Authorization = new("Bearer", mint.Mint(new Caller($"system:{environment.ApplicationName}", Role.Service, realm, Scopes.All)));
        return base.SendAsync(request, cancellationToken);
    }
}
