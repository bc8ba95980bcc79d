using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>Who was told what, when, over which channel, and what they answered.</summary>
public static class NotificationsApi
{
    private const int LargestPage = 200;

    public static IHostApplicationBuilder AddNotifications(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<NotificationOptions>();
        builder.AddSettings<FlowOptions>();
        builder.AddSettings<DigestOptions>();
        builder.Services.AddSingleton<NotificationStore>();
        builder.Services.AddSingleton<DeliveryStore>();
        builder.Services.AddSingleton<Dispatcher>();
        builder.Services.AddHostedService(services => services.GetRequiredService<Dispatcher>());
        builder.Services.AddHostedService<DigestWorker>();
        return builder;
    }

    public static IEndpointRouteBuilder MapNotifications(this IEndpointRouteBuilder app)
    {
        app.MapGet("/api/v1/monitoring/notifications", ListAsync).WithTags("Notifications").RequireAuthorization(Access.ModeratorRead)
            .WithSummary("Who was told what, why, and what they answered; newest first.");
        app.MapPost("/api/v1/monitoring/notifications/{id:guid}/retry", RetryAsync).WithTags("Notifications").RequireAuthorization(Access.ModeratorWrite)
            .WithSummary("Send a notification that was given up once more.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<Notification>>>, ValidationProblem>> ListAsync(
        Caller caller, NotificationStore notifications, NotificationOptions options, CancellationToken ct, string? alert_id = null, string? state = null, string? channel = null, string? kind = null,
        string? receiver = null, string? text = null, string? from = null, string? to = null, string? cursor = null, int limit = 50)
    {
        var errors = new Dictionary<string, string[]>();
        Guid? alert = Guid.TryParse(alert_id, out var id) ? id : null;
        if (alert_id is not null && alert is null)
        {
            errors["alert_id"] = ["The id of an alert."];
        }

        NotificationState? wanted = state switch { "pending" => NotificationState.Pending, "delivered" => NotificationState.Delivered, "failed" => NotificationState.Failed, _ => null };
        if (state is not null && wanted is null)
        {
            errors["state"] = ["One of pending, delivered, failed."];
        }

        var start = QueryTime.Parse(from);
        if (from is not null && start is null)
        {
            errors["from"] = [QueryTime.Expected];
        }

        var end = QueryTime.Parse(to);
        if (to is not null && end is null)
        {
            errors["to"] = [QueryTime.Expected];
        }

        if (text is { Length: > 200 })
        {
            errors["text"] = ["At most 200 characters."];
        }

        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            errors["cursor"] = ["A next_cursor of an earlier answer."];
        }

        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var filter = new NotificationFilter(caller.RealmFilter, alert, wanted, channel, kind, receiver, text is "" ? null : text, start, end, options.SearchAtMost);
        var page = await notifications.ListAsync(filter, after, Math.Clamp(limit, 1, LargestPage), ct);
        return TypedResults.Ok(Envelope.Page<Notification>(page.Items, page.Next?.ToString()));
    }

    /// <summary>What was given up is tried once more, with a deadline of its own.</summary>
    private static async Task<Results<Ok<Envelope<Notification>>, NotFound, ProblemHttpResult>> RetryAsync(
        Guid id, Caller caller, NotificationStore notifications, Dispatcher dispatcher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await notifications.FindForChangeAsync(tx, id, ct), out var notification, out var refusal))
        {
            return refusal;
        }

        if (notification.State != NotificationState.Failed)
        {
            return TypedResults.Problem($"The notification is {WireJson.Name(notification.State.ToString())}. Only what was given up can be tried again.",
                statusCode: StatusCodes.Status409Conflict, title: "The notification has not failed");
        }

        await NotificationStore.RetryAsync(tx, id, now, ct);
        await tx.SendAsync(caller.Did("notification.retried", "notification", id.ToString(), now, notification.Realm, new Dictionary<string, string> { ["channel"] = notification.Channel }), ct);
        await tx.CommitAsync(ct);
        dispatcher.Wake();
        return TypedResults.Ok(Envelope.Of((await notifications.FindAsync(id, ct))!));
    }
}
