using System.Text.Json;
using Npgsql;
using Platform.Alerting.Routing;
using Platform.Alerting.Silences;
using Platform.Contracts;
using Platform.Messaging;
using Platform.PromQL;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Doors;

/// <summary>The silences of the platform as Alertmanager's API has them, for amtool and Grafana.</summary>
internal static class AlertmanagerSilences
{
    private const int MostListed = 10_000;
    private const int LongestOwner = 200;

    public static IEndpointRouteBuilder MapAlertmanagerSilences(this IEndpointRouteBuilder app)
    {
        var read = app.MapGroup(AlertmanagerApi.Prefix).WithTags("Alertmanager").RequireAuthorization(Access.UserRead);
        read.MapGet("/api/v2/silences", ListAsync).WithSummary("Silences as an Alertmanager lists them.");
        read.MapGet("/api/v2/silence/{id}", FindAsync).WithSummary("One silence, in Alertmanager's shape.");

        var write = app.MapGroup(AlertmanagerApi.Prefix).WithTags("Alertmanager").RequireAuthorization(Access.ModeratorWrite);
        write.MapPost("/api/v2/silences", SaveAsync).WithSummary("Make a silence, or with an id change one.")
            .WithExample("""{"matchers": [{"name": "host", "value": "db-1", "isRegex": false, "isEqual": true}], "startsAt": "2026-03-01T09:00:00Z", "endsAt": "2026-03-01T11:00:00Z", "createdBy": "anna", "comment": "moving to a larger disk"}""");
        write.MapDelete("/api/v2/silence/{id}", ExpireAsync).WithSummary("End a silence now.");
        return app;
    }

    private static async Task<IResult> ListAsync(
        Caller caller, SilenceStore silences, TimeProvider clock, CancellationToken ct, string[]? filter = null, bool active = true, bool pending = true, bool expired = true)
    {
        if (!AlertmanagerApi.TryRead(filter, null, out var matchers, out _, out var fault))
        {
            return AlertmanagerApi.Refused(fault);
        }

        var now = clock.GetUtcNow();
        var found = (await silences.ListAsync(caller.RealmFilter, null, now, null, MostListed, ct))
            .Where(silence => silence.StateAt(now) switch { SilenceState.Active => active, SilenceState.Pending => pending, SilenceState.Expired => expired })
            // A filter looks at what the silence's matchers demand, as if they were labels.
            .Where(silence => matchers.All(matcher => silence.Matching.Any(one => one.Name == matcher.Name && matcher.Matches(one.Value))));
        return Results.Json(found.Select(silence => Show(silence, now)), AlertmanagerApi.Json);
    }

    private static async Task<IResult> FindAsync(string id, Caller caller, SilenceStore silences, TimeProvider clock, CancellationToken ct) =>
        Guid.TryParse(id, out var guid) && await silences.FindAsync(guid, ct) is { } silence && (silence.Realm == Realm.All || caller.Reaches(silence.Realm))
            ? Results.Json(Show(silence, clock.GetUtcNow()), AlertmanagerApi.Json)
            : AlertmanagerApi.Refused($"silence {id} not found", StatusCodes.Status404NotFound);

    private static async Task<IResult> SaveAsync(
        HttpRequest request, Caller caller, SilenceStore silences, SilenceOptions limits, DoorOptions options, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        if (await PushedBody.ReadAsync(request, options.MaxBytes, ct) is not { ValueKind: JsonValueKind.Object } json || Read(json) is not { } sent)
        {
            return AlertmanagerApi.Refused("A silence is an object with matchers (name, value, isRegex, isEqual), startsAt, endsAt, createdBy and comment.");
        }

        var (_, start, end, errors) = new SilenceBody([.. sent.Matchers.Select(MatcherNotation.Write)], sent.Comment, sent.StartsAt, sent.EndsAt).Check(now, isPreview: false);
        if (errors.Count > 0)
        {
            return AlertmanagerApi.Refused(string.Join(' ', errors.Select(error => $"{error.Key}: {error.Value[0]}")));
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        Silence silence;
        if (sent.Id is { } id)
        {
            if (await silences.FindForChangeAsync(tx, id, ct) is not { } old || !caller.Reaches(old.Realm))
            {
                return AlertmanagerApi.Refused($"silence {id} not found", StatusCodes.Status404NotFound);
            }

            if (old.StateAt(now) == SilenceState.Expired)
            {
                return AlertmanagerApi.Refused($"The silence ended at {old.EndsAt:O}. What is over stays as it was; send it without id to make a new one.");
            }

            silence = old with { Matching = sent.Matchers, Unreadable = null, Comment = sent.Comment, StartsAt = start, EndsAt = end, UpdatedAt = now, UpdatedBy = caller.Subject, Version = old.Version + 1 };
            await silences.UpdateAsync(tx, silence, ct);
        }
        else
        {
            var owner = sent.CreatedBy.Length > 0 ? sent.CreatedBy : caller.Subject;
            silence = new Silence(Guid.CreateVersion7(now), caller.RealmOfNewData, sent.Matchers, owner, sent.Comment, start, end, now, now, caller.Subject, 1);
            if (await silences.CountLiveAsync(tx, silence.Realm, now, ct) >= limits.MostLive)
            {
                return AlertmanagerApi.Refused($"The realm {silence.Realm} has {limits.MostLive} silences that are not over. Let some expire, or raise ALERT_MAX_SILENCES.");
            }

            await silences.InsertAsync(tx, silence, ct);
        }

        await tx.SendAsync(Did(caller, sent.Id is null ? "silence.created" : "silence.changed", silence, now), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return Results.Json(new { silenceID = silence.Id }, AlertmanagerApi.Json);
    }

    private static async Task<IResult> ExpireAsync(string id, Caller caller, SilenceStore silences, Flusher flusher, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        var now = clock.GetUtcNow();
        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        if (!Guid.TryParse(id, out var guid) || await silences.FindForChangeAsync(tx, guid, ct) is not { } old || !caller.Reaches(old.Realm))
        {
            return AlertmanagerApi.Refused($"silence {id} not found", StatusCodes.Status404NotFound);
        }

        if (old.StateAt(now) == SilenceState.Expired)
        {
            return Results.Ok();
        }

        var silence = old with { StartsAt = old.StartsAt < now ? old.StartsAt : now, EndsAt = now, UpdatedAt = now, UpdatedBy = caller.Subject, Version = old.Version + 1 };
        await silences.UpdateAsync(tx, silence, ct);
        await tx.SendAsync(Did(caller, "silence.expired", silence, now), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return Results.Ok();
    }

    private sealed record SentSilence(Guid? Id, IReadOnlyList<Matcher> Matchers, DateTimeOffset? StartsAt, DateTimeOffset? EndsAt, string CreatedBy, string Comment);

    // Null when it has not the shape of a silence; whether it makes sense is judged where the platform's own are.
    private static SentSilence? Read(JsonElement json)
    {
        try
        {
            var id = json.TryGetProperty("id", out var given) && given.ValueKind == JsonValueKind.String && given.GetString() is { Length: > 0 } text ? Guid.Parse(text) : null as Guid?;
            var matchers = json.GetProperty("matchers").EnumerateArray().Take(SilenceBody.MostMatchers + 1).Select(matcher =>
            {
                // A pattern costs before it is judged.
                if (matcher.GetProperty("value").GetString() is not { Length: <= SilenceBody.LongestMatcher })
                {
                    throw new FormatException();
                }

                var regex = matcher.TryGetProperty("isRegex", out var isRegex) && isRegex.GetBoolean();
                var equal = !matcher.TryGetProperty("isEqual", out var isEqual) || isEqual.ValueKind == JsonValueKind.Null || isEqual.GetBoolean();
                return new Matcher(matcher.GetProperty("name").GetString()!, (regex, equal) switch
                {
                    (false, true) => MatchKind.Equal,
                    (false, false) => MatchKind.NotEqual,
                    (true, true) => MatchKind.Regex,
                    (true, false) => MatchKind.NotRegex,
                }, matcher.GetProperty("value").GetString()!);
            }).ToList();
            var by = json.TryGetProperty("createdBy", out var created) ? created.GetString() ?? "" : "";
            return new SentSilence(
                id, matchers, json.GetProperty("startsAt").GetDateTimeOffset(), json.GetProperty("endsAt").GetDateTimeOffset(), StorableText.Clean(StorableText.Cut(by, LongestOwner)), json.GetProperty("comment").GetString() ?? "");
        }
        catch (Exception error) when (error is FormatException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            return null;
        }
    }

    private static Audited Did(Caller caller, string verb, Silence silence, DateTimeOffset now) =>
        caller.Did(verb, "silence", silence.Id.ToString(), now, silence.Realm, new Dictionary<string, string>
        {
            ["matchers"] = string.Join(", ", silence.Matchers),
            ["owner"] = silence.Owner,
            ["comment"] = silence.Comment,
            ["ends_at"] = silence.EndsAt.ToString("O"),
        });

    private static object Show(Silence silence, DateTimeOffset now) => new
    {
        id = silence.Id,
        status = new { state = silence.StateAt(now).ToString().ToLowerInvariant() },
        updatedAt = silence.UpdatedAt,
        comment = silence.Comment,
        createdBy = silence.Owner,
        endsAt = silence.EndsAt,
        matchers = silence.Matching.Select(matcher => new
        {
            isEqual = matcher.Kind is MatchKind.Equal or MatchKind.Regex,
            isRegex = matcher.Kind is MatchKind.Regex or MatchKind.NotRegex,
            name = matcher.Name,
            value = matcher.Value,
        }),
        startsAt = silence.StartsAt,
    };
}
