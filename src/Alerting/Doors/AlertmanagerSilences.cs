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
    private const int MostAnnotations = 32;
    private const int LongestText = 4_096;

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
        Caller caller, SilenceStore silences, TimeProvider clock, CancellationToken ct, string[]? filter = null, string? active = null, string? pending = null, string? expired = null)
    {
        if (!AlertmanagerApi.TryRead(filter, null, out var matchers, out _, out var fault))
        {
            return AlertmanagerApi.Refused(fault);
        }

        var now = clock.GetUtcNow();
        var found = (await silences.ListAsync(caller.RealmFilter, null, now, null, MostListed, ct))
            .Where(silence => silence.StateAt(now) switch
            {
                SilenceState.Active => AlertmanagerApi.Flag(active, true),
                SilenceState.Pending => AlertmanagerApi.Flag(pending, true),
                SilenceState.Expired => AlertmanagerApi.Flag(expired, true),
            })
            // A filter is compared with the silence's matchers as they are written, it is not tried on them.
            .Where(silence => matchers.All(silence.Matching.Contains))
            .OrderBy(silence => silence.StateAt(now) switch { SilenceState.Active => 1, SilenceState.Pending => 2, SilenceState.Expired => 3 })
            // What ends next, what begins next, what ended last.
            .ThenBy(silence => silence.StateAt(now) switch
            {
                SilenceState.Active => silence.EndsAt.UtcTicks,
                SilenceState.Pending => silence.StartsAt.UtcTicks,
                SilenceState.Expired => -silence.EndsAt.UtcTicks,
            });
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
            return AlertmanagerApi.Refused(
                $"A silence is an object with matchers (name, value, isRegex, isEqual), startsAt, endsAt, createdBy, comment and up to {MostAnnotations} annotations, texts of at most {LongestText} characters.");
        }

        var (_, start, end, errors) = new SilenceBody([.. sent.Matchers.Select(MatcherNotation.Write)], sent.Comment, sent.StartsAt, sent.EndsAt).Check(now, isPreview: false);
        if (errors.Count > 0)
        {
            return AlertmanagerApi.Refused(string.Join(' ', errors.Select(error => $"{error.Key}: {error.Value[0]}")));
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        Silence? old = null;
        if (sent.Id is { } id && ((old = await silences.FindForChangeAsync(tx, id, ct)) is null || !caller.Reaches(old.Realm)))
        {
            return AlertmanagerApi.Refused($"silence {id} not found", StatusCodes.Status404NotFound);
        }

        var owner = sent.CreatedBy.Length > 0 ? sent.CreatedBy : old?.Owner ?? caller.Subject;
        Silence silence;
        if (old is not null && Prolongs(old, sent, start, now))
        {
            silence = old with
            {
                Owner = owner,
                Comment = sent.Comment,
                Annotations = sent.Annotations,
                EndsAt = end,
                StartsAt = old.StateAt(now) == SilenceState.Active ? old.StartsAt : start,
                UpdatedAt = now,
                UpdatedBy = caller.Subject,
                Version = old.Version + 1,
            };
            await silences.UpdateAsync(tx, silence, ct);
            await tx.SendAsync(Did(caller, "silence.changed", silence, now), ct);
        }
        else
        {
            // What was silenced until now stays known as it was: the old one ends, and another begins.
            if (old is not null && old.StateAt(now) != SilenceState.Expired)
            {
                var ended = End(old, caller, now);
                await silences.UpdateAsync(tx, ended, ct);
                await tx.SendAsync(Did(caller, "silence.expired", ended, now), ct);
            }

            silence = new Silence(
                Guid.CreateVersion7(now), old?.Realm ?? caller.RealmOfNewData, sent.Matchers, owner, sent.Comment, old is not null && start < now ? now : start, end, now, now, caller.Subject, 1)
            {
                Annotations = sent.Annotations,
            };
            if (await silences.CountLiveAsync(tx, silence.Realm, now, ct) >= limits.MostLive)
            {
                return AlertmanagerApi.Refused($"The realm {silence.Realm} has {limits.MostLive} silences that are not over. Let some expire, or raise ALERT_MAX_SILENCES.");
            }

            await silences.InsertAsync(tx, silence, ct);
            await tx.SendAsync(Did(caller, "silence.created", silence, now), ct);
        }

        await tx.CommitAsync(ct);
        flusher.Wake();
        return Results.Json(new { silenceID = silence.Id }, AlertmanagerApi.Json);
    }

    // As Alertmanager has it: what takes other alerts, or would have begun otherwise, is another silence.
    private static bool Prolongs(Silence old, SentSilence sent, DateTimeOffset start, DateTimeOffset now) =>
        old.Matching.ToHashSet().SetEquals(sent.Matchers) && old.StateAt(now) switch
        {
            SilenceState.Active => start.ToUnixTimeSeconds() == old.StartsAt.ToUnixTimeSeconds(),
            SilenceState.Pending => start >= now,
            SilenceState.Expired => false,
        };

    private static Silence End(Silence silence, Caller caller, DateTimeOffset now) =>
        silence with { StartsAt = silence.StartsAt < now ? silence.StartsAt : now, EndsAt = now, UpdatedAt = now, UpdatedBy = caller.Subject, Version = silence.Version + 1 };

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

        var silence = End(old, caller, now);
        await silences.UpdateAsync(tx, silence, ct);
        await tx.SendAsync(Did(caller, "silence.expired", silence, now), ct);
        await tx.CommitAsync(ct);
        flusher.Wake();
        return Results.Ok();
    }

    private sealed record SentSilence(Guid? Id, IReadOnlyList<Matcher> Matchers, DateTimeOffset? StartsAt, DateTimeOffset? EndsAt, string CreatedBy, string Comment, IReadOnlyDictionary<string, string> Annotations);

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
            var annotations = json.TryGetProperty("annotations", out var more) && more.ValueKind == JsonValueKind.Object
                ? more.EnumerateObject().Take(MostAnnotations + 1).ToDictionary(one => one.Name, one => one.Value.GetString() ?? "")
                : [];
            var sent = new SentSilence(
                id, matchers, json.GetProperty("startsAt").GetDateTimeOffset(), json.GetProperty("endsAt").GetDateTimeOffset(), StorableText.Clean(StorableText.Cut(by, LongestOwner)), json.GetProperty("comment").GetString() ?? "", annotations);
            var texts = annotations.SelectMany(one => (string[])[one.Key, one.Value]).Concat(matchers.SelectMany(matcher => (string[])[matcher.Name, matcher.Value])).Append(sent.CreatedBy).Append(sent.Comment);
            return annotations.Count <= MostAnnotations && texts.All(text => text.Length <= LongestText && !text.Contains('\0')) ? sent : null;
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
        annotations = silence.Annotations,
    };
}
