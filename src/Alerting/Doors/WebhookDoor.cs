using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <param name="Taken">Alerts of the request that were taken in, known ones included.</param>
public sealed record WebhookTaken(int Taken);

/// <summary>
/// Where an Alertmanager or a Grafana sends its webhooks: version 4 of the body, of which Grafana's is a superset. Their alerts fire until
/// their end is told, because neither repeats itself often enough to tell silence from health.
/// </summary>
public static class WebhookDoor
{
    public static IEndpointRouteBuilder MapWebhookDoor(this IEndpointRouteBuilder app)
    {
        app.MapPost("/integrations/alertmanager", TakeAsync).WithTags("Integrations").RequireAuthorization(Access.Ingest)
            .WithSummary("Where an Alertmanager's or a Grafana's webhooks go.")
            .WithExample("""{"version": "4", "status": "firing", "receiver": "platform", "alerts": [{"status": "firing", "labels": {"alertname": "TooHot", "severity": "high"}, "annotations": {"summary": "91 degrees"}, "startsAt": "2026-03-01T09:15:00Z", "endsAt": "0001-01-01T00:00:00Z"}]}""");
        return app;
    }

    private static async Task<Results<Ok<Envelope<WebhookTaken>>, ValidationProblem, ProblemHttpResult>> TakeAsync(
        HttpRequest request, Caller caller, AlertIntake intake, DoorOptions options, TimeProvider clock, CancellationToken ct)
    {
        if (await PushedBody.ReadAsync(request, options.MaxBytes, ct) is not { } body)
        {
            return TypedResults.Problem($"The body is no JSON, or larger than {options.MaxBytes} bytes (ALERT_PUSH_MAX_BYTES).", statusCode: StatusCodes.Status400BadRequest, title: "The body cannot be read");
        }

        if (body.ValueKind != JsonValueKind.Object || !body.TryGetProperty("alerts", out var list) || list.ValueKind != JsonValueKind.Array || list.GetArrayLength() > options.MaxAlerts)
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["alerts"] = [$"A webhook of Alertmanager (version 4) or Grafana, with a list of at most {options.MaxAlerts} alerts (ALERT_PUSH_MAX_ALERTS)."] });
        }

        var now = clock.GetUtcNow();
        var errors = new Dictionary<string, string[]>();
        var pushed = new List<PushedAlert>();
        foreach (var (i, one) in list.EnumerateArray().Index())
        {
            var (alert, fault) = PushedAlert.Read(one, $"alerts[{i}]", null, options.MaxAlertCharacters, now);
            if (alert is not null)
            {
                pushed.Add(alert);
            }
            else
            {
                errors[$"alerts[{i}]"] = [fault!];
            }
        }

        // What is right is taken in even beside what is wrong: the sender would send the whole again, or not at all.
        if (await intake.TakeAsync(caller.RealmOfNewData, pushed, "The webhook", ct) is { } leftOut)
        {
            return TypedResults.Problem(leftOut, statusCode: StatusCodes.Status429TooManyRequests, title: "Too many open alerts");
        }

        return errors.Count > 0 ? TypedResults.ValidationProblem(errors) : TypedResults.Ok(Envelope.Of(new WebhookTaken(pushed.Count)));
    }
}
