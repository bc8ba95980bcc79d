using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Notifications;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>What came of a test.</summary>
/// <param name="NotificationId">Under which the log of notifications has it.</param>
public sealed record ChannelTest(Guid NotificationId, bool Delivered, Attempt Attempt);

/// <summary>Make, look at, change, remove and try channels. Secrets go in and never come out.</summary>
public static class ChannelsApi
{
    private const int LargestPage = 500;

    public static IHostApplicationBuilder AddChannels(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<ChannelSettings>();
        builder.AddSettings<SmtpSettings>();
        builder.Services.AddSingleton<SettingsChannels>();
        builder.Services.AddSingleton<ChannelSecrets>();
        builder.Services.AddSingleton<ChannelStore>();
        builder.Services.AddSingleton<ChannelYaml>();
        builder.AddOutboundHttpClient(OutboundPost.Client);
        builder.Services.AddSingleton<OutboundPost>();
        builder.Services.AddSingleton<INotifier, EmailNotifier>();
        builder.Services.AddSingleton<INotifier, SlackNotifier>();
        builder.Services.AddSingleton<INotifier, TeamsNotifier>();
        builder.Services.AddSingleton<INotifier, PagerdutyNotifier>();
        builder.Services.AddSingleton<INotifier, WebhookNotifier>();
        builder.Services.AddSingleton<INotifier, NtfyNotifier>();
        return builder;
    }

    public static IEndpointRouteBuilder MapChannels(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring").WithTags("Channels").RequireAuthorization(Access.ModeratorRead);
        read.MapGet("/channels", ListAsync).WithSummary("Channels with their health, those of settings first; secrets are fingerprints.");
        read.MapGet("/channels/{id:guid}", FindAsync).WithSummary("One channel.");

        // A channel takes data out of the platform: that is for admins.
        var write = app.MapGroup("/api/v1/monitoring").WithTags("Channels").RequireAuthorization(Access.AdminWrite);
        write.MapPost("/channels", CreateAsync).WithSummary("Make a channel: email, slack, teams, pagerduty, webhook or ntfy.")
            .WithExample("""{"name": "ops", "kind": "slack", "settings": {"url": "https://hooks.slack.com/services/T000/B000/secret"}, "fallback": null, "send_resolved": true}""");
        write.MapPut("/channels/{id:guid}", ChangeAsync).WithSummary("Change a channel; secrets that are left out stay.")
            .WithExample("""{"name": "ops", "kind": "slack", "settings": {"url": "https://hooks.slack.com/services/T000/B000/secret"}, "fallback": null, "send_resolved": true}""");
        write.MapDelete("/channels/{id:guid}", DeleteAsync).WithSummary("Delete a channel that no other falls back on.");
        app.MapPost("/api/v1/monitoring/channels/{id:guid}/test", TestAsync).WithTags("Channels").RequireAuthorization(Access.ModeratorWrite)
            .WithSummary("Send a real notification and answer what the receiver said.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<ChannelView>>>, ValidationProblem>> ListAsync(
        Caller caller, ChannelStore channels, SettingsChannels settings, ChannelSecrets secrets, CancellationToken ct, string? cursor = null, int limit = 100)
    {
        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            return TypedResults.ValidationProblem(new Dictionary<string, string[]> { ["cursor"] = ["A next_cursor of an earlier answer."] });
        }

        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await channels.ListAsync(caller.RealmFilter, after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].CreatedAt, page[size - 1].Id).ToString() : null;
        // Those of settings are few and have no place in the order of creation: they lead the first page.
        Channel[] shown = [.. after is null ? settings.All : [], .. page.Take(size)];
        var health = await channels.HealthAsync(shown, ct);
        return TypedResults.Ok(Envelope.Page<ChannelView>(
            [.. shown.Select(channel => ChannelView.Of(channel, secrets) with { Health = health.GetValueOrDefault((channel.Realm, channel.Name)) })], next));
    }

    private static async Task<Results<Ok<Envelope<ChannelView>>, NotFound, ProblemHttpResult>> FindAsync(
        Guid id, Caller caller, ChannelStore channels, ChannelSecrets secrets, CancellationToken ct)
    {
        if (await channels.FindAsync(id, ct) is not { } channel)
        {
            return TypedResults.NotFound();
        }

        if (channel.Realm != Realm.All && !caller.Reaches(channel.Realm))
        {
            return Access.ForeignRealm(caller, channel.Realm);
        }

        var health = await channels.HealthAsync([channel], ct);
        return TypedResults.Ok(Envelope.Of(ChannelView.Of(channel, secrets) with { Health = health.GetValueOrDefault((channel.Realm, channel.Name)) }));
    }

    private static async Task<Results<Created<Envelope<ChannelView>>, ValidationProblem, ProblemHttpResult>> CreateAsync(
        ChannelBody body, Caller caller, ChannelStore channels, ChannelSecrets secrets, ChannelSettings settings, SmtpSettings smtp, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        await ChannelStore.LockForChangeAsync(tx, realm, ct);
        var (channel, errors) = body.Check(null, Guid.CreateVersion7(now), realm, await channels.NamesAsync(tx, realm, ct), smtp, caller.Subject, now);
        if (channel is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        if (await channels.CountAsync(tx, realm, ct) >= settings.MostChannels)
        {
            return TypedResults.Problem($"The realm {realm} has {settings.MostChannels} channels, as many as ALERT_MAX_CHANNELS_PER_REALM allows. Delete one, or raise that setting.",
                statusCode: StatusCodes.Status409Conflict, title: "Too many channels");
        }

        if (!await channels.InsertAsync(tx, channel, ct))
        {
            return TypedResults.Problem($"The realm {realm} already has a channel named {channel.Name}. Choose another name, or change that channel.",
                statusCode: StatusCodes.Status409Conflict, title: "The name is taken");
        }

        await tx.SendAsync(channel.Did(caller, "created", now), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Created($"/api/v1/monitoring/channels/{channel.Id}", Envelope.Of(ChannelView.Of(channel, secrets)));
    }

    private static async Task<Results<Ok<Envelope<ChannelView>>, NotFound, ValidationProblem, ProblemHttpResult>> ChangeAsync(
        Guid id, ChannelBody body, Caller caller, ChannelStore channels, SettingsChannels settings, ChannelSecrets secrets, SmtpSettings smtp, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (settings.All.Any(channel => channel.Id == id))
        {
            return MadeBySettings();
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await channels.FindForChangeAsync(tx, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        if (body.Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"The channel is at version {old.Version}, your change was made from version {from}. Read it again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the channel");
        }

        var (channel, errors) = body.Check(old, id, old.Realm, await channels.NamesAsync(tx, old.Realm, ct), smtp, caller.Subject, now);
        if (channel is null)
        {
            return TypedResults.ValidationProblem(errors);
        }

        await channels.UpdateAsync(tx, channel, ct);
        await ChannelStore.ForgetPauseAsync(tx, channel, ct);
        await tx.SendAsync(channel.Did(caller, "changed", now), ct);
        await tx.CommitAsync(ct);
        return TypedResults.Ok(Envelope.Of(ChannelView.Of(channel, secrets)));
    }

    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> DeleteAsync(
        Guid id, Caller caller, ChannelStore channels, SettingsChannels settings, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (settings.All.Any(channel => channel.Id == id))
        {
            return MadeBySettings();
        }

        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        // Nobody begins to name it meanwhile. In the order of everybody who holds both, and before the row.
        await RoutingStore.LockForChangeAsync(tx, ct);
        await OnCallStore.LockForChangeAsync(tx, ct);
        if (!caller.MayChange(await channels.FindForChangeAsync(tx, id, ct), out var channel, out var refusal))
        {
            return refusal;
        }

        if (await channels.UsersOfAsync(tx, channel, ct) is { Count: > 0 } users)
        {
            return TypedResults.Problem($"{channel.Name} is named by {string.Join("; ", users)}. Name another channel there first.",
                statusCode: StatusCodes.Status409Conflict, title: "The channel is in use");
        }

        await channels.DeleteAsync(tx, channel, ct);
        await tx.SendAsync(channel.Did(caller, "deleted", now), ct);
        await tx.CommitAsync(ct);
        return TypedResults.NoContent();
    }

    /// <summary>Sends a real notification the way all of them go, past buckets and pauses, and answers what the receiver said. One attempt; no fallback.</summary>
    private static async Task<Results<Ok<Envelope<ChannelTest>>, NotFound, ProblemHttpResult>> TestAsync(
        Guid id, Caller caller, ChannelStore channels, DeliveryStore deliveries, Dispatcher dispatcher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        if (await channels.FindAsync(id, ct) is not { } channel)
        {
            return TypedResults.NotFound();
        }

        // A channel of all realms reaches people outside of the caller's.
        if (!caller.Reaches(channel.Realm))
        {
            return Access.ForeignRealm(caller, channel.Realm);
        }

        var now = clock.GetUtcNow();
        var notification = Guid.CreateVersion7(now);
        var labels = new Dictionary<string, string> { ["alertname"] = "ChannelTest", ["channel"] = channel.Name, ["severity"] = "info" };
        var alert = new ToldAlert(
            Guid.Empty, Alerts.Fingerprint.Of(labels), "ChannelTest", Severity.Info, NotificationStatus.Firing, labels,
            new Dictionary<string, string> { ["summary"] = $"This is a test of the channel {channel.Name}. Nothing is wrong." }, now, null, null, null, "");
        var content = new NotificationContent(
            NotificationStatus.Firing, channel.Name, $"test:{notification}", new Dictionary<string, string> { ["alertname"] = "ChannelTest" }, $"{caller.Subject} asked for a test", [alert]);

        Claimed claimed;
        await using (var connection = await db.OpenConnectionAsync(ct))
        {
            await using var tx = await connection.BeginTransactionAsync(ct);
            claimed = await deliveries.ClaimNewAsync(tx, new OutgoingNotification(channel.Realm, channel.Name, content, "test"), notification, Dispatcher.TestLease, now, ct);
            await tx.SendAsync(channel.Did(caller, "tested", now), ct);
            await tx.CommitAsync(ct);
        }

        var attempt = (await dispatcher.DeliverNowAsync(claimed, channel)).Attempt!;
        return TypedResults.Ok(Envelope.Of(new ChannelTest(notification, attempt.Outcome == DeliveryOutcome.Accepted, attempt)));
    }

    private static ProblemHttpResult MadeBySettings() => TypedResults.Problem(
        "This channel is made from the settings of the service. Change the setting and restart, or make a channel of the same name in your realm: it takes its place there.",
        statusCode: StatusCodes.Status409Conflict, title: "The channel is made from settings");
}
