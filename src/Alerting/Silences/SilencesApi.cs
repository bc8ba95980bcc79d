using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;
using Npgsql;
using Platform.Alerting.Canaries;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Messaging;
using Platform.Postgres;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Silences;

public sealed class SilenceOptions
{
    /// <summary>Silences of one realm that are not over; each alert is compared with all of them.</summary>
    [Setting("ALERT_MAX_SILENCES"), Range(1, 100_000)]
    public int MostLive { get; init; } = 1_000;
}

/// <summary>A silence as sent.</summary>
/// <param name="Matchers">All must hold: <c>alertname="Down"</c>, <c>severity=~"low|info"</c>.</param>
/// <param name="Comment">Why.</param>
/// <param name="StartsAt">Null for now.</param>
/// <param name="EndsAt">Or <paramref name="Duration"/>.</param>
/// <param name="Duration">From the start, in a change of one that has begun from now: <c>2h</c>, <c>1d12h</c>.</param>
/// <param name="Realm">The caller's when it is null; <c>*</c> silences alerts of all realms.</param>
/// <param name="Version">Of a change: refused when the silence is at another one.</param>
public sealed record SilenceBody(
    IReadOnlyList<string?>? Matchers, string? Comment = null, DateTimeOffset? StartsAt = null, DateTimeOffset? EndsAt = null, string? Duration = null, string? Realm = null, int? Version = null)
{
    internal const int MostMatchers = 20;
    internal const int LongestMatcher = 1_000;

    // A duration of a hundred years may still follow.
    private static readonly DateTimeOffset Latest = new(9000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>What all matchers say, or all errors by the name of their field.</summary>
    /// <param name="began">Of a change: when the silence begins so far.</param>
    public (IReadOnlyList<Matcher> Matching, DateTimeOffset Start, DateTimeOffset End, Dictionary<string, string[]> Errors) Check(DateTimeOffset now, bool isPreview, DateTimeOffset? began = null)
    {
        var errors = new Dictionary<string, string[]>();
        var matching = new List<Matcher>();
        foreach (var (at, text) in (Matchers ?? []).Index().Take(MostMatchers + 1))
        {
            try
            {
                matching.AddRange(MatcherNotation.Parse(text is { Length: <= LongestMatcher } ? text : throw new FormatException($"A text of at most {LongestMatcher} characters.")));
            }
            catch (FormatException error)
            {
                errors[$"matchers[{at}]"] = [error.Message];
            }
        }

        if (MatcherNotation.FindUnreadable(matching) is { } odd)
        {
            errors["matchers"] = [$"The matcher of \"{odd.Name}\" would not be read as it is written. Choose another name or value."];
        }

        if (errors.Count == 0 && (matching.Count is 0 or > MostMatchers || matching.All(matcher => matcher.Matches(""))))
        {
            errors["matchers"] = [$"1 to {MostMatchers} matchers, of which one demands a label, for example alertname=\"Down\": a silence that takes every alert is not meant."];
        }

        if (!isPreview && (Comment is not { Length: > 0 and <= 2000 } || StorableText.Clean(Comment) != Comment))
        {
            errors["comment"] = ["Why this is silenced, 1 to 2000 characters (none of them U+0000): others will ask."];
        }

        var start = (StartsAt ?? began ?? now).ToUniversalTime();
        if (start > Latest || EndsAt > Latest)
        {
            errors["ends_at"] = [$"Times before the year {Latest.Year}."];
            return (matching, start, start, errors);
        }

        var length = Duration is null ? null : AlertDuration.Parse(Duration);
        if (Duration is not null && length is null)
        {
            errors["duration"] = ["A duration such as 30m, 2h or 1d12h."];
        }
        else if (!isPreview && EndsAt is null == Duration is null)
        {
            errors["ends_at"] = ["When it ends: ends_at, or a duration, and not both."];
        }

        var end = EndsAt?.ToUniversalTime() ?? (length is { } given ? (StartsAt is null && start < now ? now : start) + given : start.AddHours(1));
        if (errors.Count == 0 && (end <= start || (!isPreview && end <= now)))
        {
            errors["ends_at"] = ["A time after the start that is not over yet."];
        }

        return (matching, start, end, errors);
    }
}

/// <summary>What a silence takes.</summary>
/// <param name="Alerts">The newest of them.</param>
public sealed record MutedNow(int Count, IReadOnlyList<MutedAlert> Alerts);

public sealed record MutedAlert(Guid Id, string Name, string Severity, IReadOnlyDictionary<string, string> Labels, DateTimeOffset StartsAt);

/// <param name="ByName">How many of which alert, most first.</param>
/// <param name="Complete">False when there were too many alerts to look at all of them.</param>
public sealed record MutedBefore(int Days, long Count, IReadOnlyDictionary<string, long> ByName, bool Complete);

public sealed record SilencePreview(MutedNow Now, MutedBefore Before);

/// <summary>A silence as it is shown.</summary>
public sealed record SilenceView(
    Guid Id, string Realm, SilenceState State, IReadOnlyList<string> Matchers, string Owner, string Comment, DateTimeOffset StartsAt, DateTimeOffset EndsAt,
    DateTimeOffset CreatedAt, DateTimeOffset UpdatedAt, string UpdatedBy, int Version, IReadOnlyDictionary<string, string> Annotations)
{
    public static SilenceView Of(Silence silence, DateTimeOffset now) => new(
        silence.Id, silence.Realm, silence.StateAt(now), silence.Matchers, silence.Owner, silence.Comment, silence.StartsAt, silence.EndsAt,
        silence.CreatedAt, silence.UpdatedAt, silence.UpdatedBy, silence.Version, silence.Annotations);
}

/// <summary>Silence alerts for a while, see who did, and what it would mean.</summary>
public static class SilencesApi
{
    private const int LargestPage = 500;
    private const int PreviewDays = 7;
    private const int PreviewAlerts = 50;
    private const int MostLookedAt = 50_000;

    public static IHostApplicationBuilder AddSilences(this IHostApplicationBuilder builder)
    {
        builder.AddSettings<SilenceOptions>();
        builder.Services.AddSingleton<SilenceStore>();
        return builder;
    }

    public static IEndpointRouteBuilder MapSilences(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup("/api/v1/monitoring/silences").WithTags("Silences").RequireAuthorization(Access.UserRead);
        read.MapGet("", ListAsync).WithSummary("Silences, newest first: pending, active, expired.");
        read.MapGet("/{id:guid}", FindAsync).WithSummary("One silence.");

        var write = app.MapGroup("/api/v1/monitoring/silences").WithTags("Silences").RequireAuthorization(Access.ModeratorWrite);
        write.MapPost("", CreateAsync).WithSummary("Keep alerts that all matchers take from being told, for a while.")
            .WithExample("""{"matchers": ["host=~\"db-.*\""], "comment": "moving to a larger disk", "duration": "2h"}""");
        write.MapPost("/preview", PreviewAsync).WithSummary("What a silence would mute now, and would have muted in the last seven days.")
            .WithExample("""{"matchers": ["host=~\"db-.*\""]}""");
        write.MapPut("/{id:guid}", ChangeAsync).WithSummary("Change a silence that is not over.")
            .WithExample("""{"matchers": ["host=~\"db-.*\""], "comment": "moving to a larger disk", "duration": "2h"}""");
        write.MapDelete("/{id:guid}", ExpireAsync).WithSummary("End a silence now; what still fires is told.");
        return app;
    }

    private static async Task<Results<Ok<Envelope<Page<SilenceView>>>, ValidationProblem>> ListAsync(
        Caller caller, SilenceStore silences, TimeProvider clock, CancellationToken ct, string? state = null, string? cursor = null, int limit = 100)
    {
        SilenceState? wanted = state switch { "pending" => SilenceState.Pending, "active" => SilenceState.Active, "expired" => SilenceState.Expired, _ => null };
        if (state is not null && wanted is null)
        {
            return Wrong("state", "One of pending, active, expired.");
        }

        Cursor? after = null;
        if (cursor is not null && !Cursor.TryParse(cursor, out after))
        {
            return Wrong("cursor", "A next_cursor of an earlier answer.");
        }

        var now = clock.GetUtcNow();
        var size = Math.Clamp(limit, 1, LargestPage);
        var page = await silences.ListAsync(caller.RealmFilter, wanted, now, after, size + 1, ct);
        var next = page.Count > size ? new Cursor(page[size - 1].CreatedAt, page[size - 1].Id).ToString() : null;
        return TypedResults.Ok(Envelope.Page<SilenceView>([.. page.Take(size).Select(silence => SilenceView.Of(silence, now))], next));
    }

    private static async Task<Results<Ok<Envelope<SilenceView>>, NotFound, ProblemHttpResult>> FindAsync(
        Guid id, Caller caller, SilenceStore silences, TimeProvider clock, CancellationToken ct) =>
        await silences.FindAsync(id, ct) is not { } silence ? TypedResults.NotFound()
        : silence.Realm != Realm.All && !caller.Reaches(silence.Realm) ? Access.ForeignRealm(caller, silence.Realm)
        : TypedResults.Ok(Envelope.Of(SilenceView.Of(silence, clock.GetUtcNow())));

    private static async Task<Results<Created<Envelope<SilenceView>>, ValidationProblem, ProblemHttpResult>> CreateAsync(
        SilenceBody body, Caller caller, SilenceStore silences, SilenceOptions options, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var realm = body.Realm ?? caller.RealmOfNewData;
        if (!caller.Reaches(realm))
        {
            return Access.RealmOutOfReach(caller, realm);
        }

        var now = clock.GetUtcNow();
        var (matching, start, end, errors) = body.Check(now, isPreview: false);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        var silence = new Silence(Guid.CreateVersion7(now), realm, matching, caller.Subject, body.Comment!, start, end, now, now, caller.Subject, 1);
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (await silences.CountLiveAsync(tx, realm, now, ct) >= options.MostLive)
        {
            return TypedResults.Problem($"The realm {realm} has {options.MostLive} silences that are not over. Let some expire, or raise ALERT_MAX_SILENCES.",
                statusCode: StatusCodes.Status409Conflict, title: "Too many silences");
        }

        await silences.InsertAsync(tx, silence, ct);
        await tx.SendAsync(caller.Did("silence.created", "silence", silence.Id.ToString(), now, realm, Describe(silence)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Created($"/api/v1/monitoring/silences/{silence.Id}", Envelope.Of(SilenceView.Of(silence, now)));
    }

    private static async Task<Results<Ok<Envelope<SilenceView>>, NotFound, ValidationProblem, ProblemHttpResult>> ChangeAsync(
        Guid id, SilenceBody body, Caller caller, SilenceStore silences, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await silences.FindForChangeAsync(tx, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        if (old.StateAt(now) == SilenceState.Expired)
        {
            return TypedResults.Problem($"The silence ended at {old.EndsAt:O}. What is over stays as it was; make a new one.", statusCode: StatusCodes.Status409Conflict, title: "The silence is over");
        }

        var (matching, start, end, errors) = body.Check(now, isPreview: false, old.StartsAt);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        if (body.Version is { } from && from != old.Version)
        {
            return TypedResults.Problem($"The silence is at version {old.Version}, your change was made from version {from}. Read it again and repeat the change.",
                statusCode: StatusCodes.Status409Conflict, title: "Somebody else changed the silence");
        }

        var silence = old with { Matching = matching, Unreadable = null, Comment = body.Comment!, StartsAt = start, EndsAt = end, UpdatedAt = now, UpdatedBy = caller.Subject, Version = old.Version + 1 };
        await silences.UpdateAsync(tx, silence, ct);
        await tx.SendAsync(caller.Did("silence.changed", "silence", id.ToString(), now, silence.Realm, Describe(silence)), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return TypedResults.Ok(Envelope.Of(SilenceView.Of(silence, now)));
    }

    /// <summary>Ends it now. It stays in the list; what still fires is told. Ending what is over changes nothing.</summary>
    private static async Task<Results<NoContent, NotFound, ProblemHttpResult>> ExpireAsync(
        Guid id, Caller caller, SilenceStore silences, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!caller.MayChange(await silences.FindForChangeAsync(tx, id, ct), out var old, out var refusal))
        {
            return refusal;
        }

        if (old.StateAt(now) != SilenceState.Expired)
        {
            var silence = old with { StartsAt = old.StartsAt < now ? old.StartsAt : now, EndsAt = now, UpdatedAt = now, UpdatedBy = caller.Subject, Version = old.Version + 1 };
            await silences.UpdateAsync(tx, silence, ct);
            await tx.SendAsync(caller.Did("silence.expired", "silence", id.ToString(), now, silence.Realm, Describe(silence)), ct);
            await tx.CommitAsync(ct);
            flusher.Wake();
        }

        return TypedResults.NoContent();
    }

    /// <summary>What a silence with these matchers takes now, and what it would have taken in the last seven days. Nothing is stored.</summary>
    private static async Task<Results<Ok<Envelope<SilencePreview>>, ValidationProblem, ProblemHttpResult>> PreviewAsync(
        SilenceBody body, Caller caller, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        var (matching, _, _, errors) = body.Check(now, isPreview: true);
        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        if (body.Realm is { } named && !caller.Reaches(named))
        {
            return Access.RealmOutOfReach(caller, named);
        }

        var realm = body.Realm is { } one && one != Realm.All ? one : caller.RealmFilter;
        Sql where = $"labels @> {Queries.Jsonb(matching.Where(matcher => matcher.Kind == MatchKind.Equal && matcher.Value.Length > 0).GroupBy(matcher => matcher.Name).ToDictionary(same => same.Key, same => same.First().Value), WireJson.Options)}";
        where = $"{where} and {OfRealm()}";
        var open = (await db.QueryAsync($"""
            select id, name, severity, labels::text, starts_at from alerts where state <> 'resolved' and {where} order by fired_at desc, id desc limit {MostLookedAt}
            """,
            row => new MutedAlert(row.GetGuid(0), row.GetString(1), row.GetString(2), JsonSerializer.Deserialize<Dictionary<string, string>>(row.GetString(3))!, row.GetTime(4)), ct))
            .Where(alert => matching.AllMatch(LabelSet.Of(alert.Labels))).ToList();

        Sql again = $"labels @> {Queries.Jsonb(matching.Where(matcher => matcher.Kind == MatchKind.Equal && matcher.Value.Length > 0).GroupBy(matcher => matcher.Name).ToDictionary(same => same.Key, same => same.First().Value), WireJson.Options)}";
        again = $"{again} and {OfRealm()}";
        // Whatever was open in that time, one row for each label set.
        var before = await db.QueryAsync($"""
            select min(name), min(labels::text), count(*) from alerts
            where (fired_at >= {now.AddDays(-PreviewDays)} or state <> 'resolved') and {again} group by realm, fingerprint limit {MostLookedAt}
            """, row => (Name: row.GetString(0), Labels: row.GetString(1), Count: row.GetInt64(2)), ct);
        var taken = before.Where(one => matching.AllMatch(LabelSet.Of(JsonSerializer.Deserialize<Dictionary<string, string>>(one.Labels)!))).ToList();
        return TypedResults.Ok(Envelope.Of(new SilencePreview(
            new MutedNow(open.Count, [.. open.Take(PreviewAlerts)]),
            new MutedBefore(
                PreviewDays, taken.Sum(one => one.Count),
                taken.GroupBy(one => one.Name).Select(same => (same.Key, Count: same.Sum(one => one.Count))).OrderByDescending(one => one.Count).Take(PreviewAlerts).ToDictionary(one => one.Key, one => one.Count),
                before.Count < MostLookedAt))));

        Sql OfRealm()
        {
            Sql all = $"realm <> {Canary.Realm}";
            return realm is not null ? $"realm = {realm}" : all;
        }
    }

    private static Dictionary<string, string> Describe(Silence silence) => new()
    {
        ["matchers"] = string.Join(", ", silence.Matchers),
        ["comment"] = silence.Comment,
        ["from"] = silence.StartsAt.ToString("O", System.Globalization.CultureInfo.InvariantCulture),
        ["until"] = silence.EndsAt.ToString("O", System.Globalization.CultureInfo.InvariantCulture),
    };

    private static ValidationProblem Wrong(string field, string expected) =>
        TypedResults.ValidationProblem(new Dictionary<string, string[]> { [field] = [expected] });
}
