using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>Who was told what, when, over which channel, and what they answered.</summary>
public static class NotificationsApi
{
    private const int LargestPage = 200;

    public static IHostApplicationBuilder AddNotifications(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<NotificationOptions>();
        builder.AddOutboundHttpClient(WebhookSender.Client);
        builder.Services.AddSingleton<NotificationStore>();
        builder.Services.AddSingleton<WebhookSender>();
        builder.Services.AddSingleton<Dispatcher>();
        builder.Services.AddHostedService(services => services.GetRequiredService<Dispatcher>());
        return builder;
    }

    public static IEndpointRouteBuilder MapNotifications(this IEndpointRouteBuilder app)
    {
        app.MapGet("/api/v1/monitoring/notifications", ListAsync).WithTags("Notifications").RequireAuthorization(Access.ModeratorRead);
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<Notification>>>, ValidationProblem>> ListAsync(
        Caller caller, NotificationStore notifications, CancellationToken ct, string? alert_id = null, string? state = null, string? cursor = null, int limit = 50)
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

        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            errors["cursor"] = ["A next_cursor of an earlier answer."];
        }

        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await notifications.ListAsync(caller.RealmFilter, alert, wanted, after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].CreatedAt, page[size - 1].Id).ToString() : null;
        return TypedResults.Ok(Envelope.Page<Notification>([.. page.Take(size)], next));
    }
}
