using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using Platform.Alerting.RuleGroups;
using Platform.Alerting.Rules;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Windows;

public sealed class EventBacktestOptions
{
    /// <summary>Events that one backtest may read; more is answered 422.</summary>
    [Setting("ALERT_BACKTEST_MAX_EVENTS"), Range(1_000, 100_000_000)]
    public int MaxEvents { get; init; } = 500_000;
}

/// <summary>
/// What an event rule would have done: the events that Metrics has, page by page and in order of time, through the windows that live
/// events go through. A window's reach before the range is read as well, so that the range begins with what was known then.
/// </summary>
public sealed class EventBacktest(IMetricsClient metrics, BacktestGate gate, WindowOptions options, EventBacktestOptions limits)
{
    private const int PageSize = 1_000;
    private const int MostEpisodes = 1_000;
    private const int MostTags = 16;

    /// <param name="realm">Whose events are read; <c>*</c>: those of all realms, each counted apart.</param>
    /// <exception cref="BacktestException">More events than <c>ALERT_BACKTEST_MAX_EVENTS</c>.</exception>
    public async Task<BacktestResult> RunAsync(Rule rule, string realm, DateTimeOffset from, DateTimeOffset to, CancellationToken ct)
    {
        // What is kept of the events is bounded by their number: an event is a hit of each side of the rule at most.
        using var place = await gate.EnterAsync(ct);
        // The realm was chosen when the events were asked for.
        var tried = rule with { Realm = Realm.All, Enabled = true };
        var replay = new Replay(new RuleIndex(0, [tried]), options, options.MaxGroups);
        var start = from - TimeSpan.FromMicroseconds(WindowShape.Of(rule, options).Reach);
        var read = 0;
        var batch = new List<StoredEvent>(PageSize);
        await foreach (var stored in InOrderAsync([.. Interest.Of(tried).Select(interest => ReadAsync(interest.Match, realm, start, to, ct))], ct))
        {
            if (++read > limits.MaxEvents)
            {
                throw new BacktestException($"There are more than {limits.MaxEvents} events to look at (ALERT_BACKTEST_MAX_EVENTS). Choose a shorter range, or match fewer events.");
            }

            batch.Add(new StoredEvent(JsonSerializer.SerializeToElement(stored, WireJson.Options)));
            if (batch.Count == PageSize)
            {
                replay.Take(batch);
                batch.Clear();
            }
        }

        replay.Take(batch);
        var fired = replay.Episodes(to).Where(episode => episode.EndsAt > from && episode.StartsAt < to).ToList();
        return new BacktestResult(read, fired.Count, 0, fired.Sum(episode => Seconds(episode, from, to)), [.. fired.Take(MostEpisodes).Select(episode => Describe(rule, episode, from, to))]);
    }

    /// <summary><c>POST …/rules/backtest</c> with the kind <c>events</c>: rules as <c>POST …/rules</c> takes them, or a stored one as the one before.</summary>
    /// <param name="compare">What the new rule has and the old one has not, and the other way round.</param>
    public async Task<IResult> AnswerAsync(
        BacktestBody body, string realm, Caller caller, RuleStore rules, BacktestPaging paging, Func<BacktestResult, BacktestResult, BacktestDifference> compare, TimeProvider clock, CancellationToken ct)
    {
        var errors = new Dictionary<string, string[]>();
        var (now, to) = (clock.GetUtcNow(), body.To ?? clock.GetUtcNow());
        if (body.From is not { Year: >= 1970 } from || from >= to || to.Year >= 9000)
        {
            from = to;
            errors["from"] = ["A time before \"to\", for example 2026-03-01T09:15:00Z."];
        }

        var rule = Parse(body.Rule, "rule", realm, now, errors);
        if (rule is null && errors.Keys.All(key => key == "from"))
        {
            errors["rule"] = ["The rule to try, as POST /api/v1/monitoring/rules takes it."];
        }

        var before = Parse(body.Before, "before", realm, now, errors);
        if (body.RuleId is { } id)
        {
            before = await rules.FindAsync(id, ct) is { } stored && (stored.Realm == Realm.All || caller.Reaches(stored.Realm)) ? stored : null;
            if (before is null)
            {
                errors["rule_id"] = ["The id of an event rule in reach."];
            }
        }

        if (errors.Count > 0)
        {
            return TypedResults.ValidationProblem(errors);
        }

        try
        {
            var after = await paging.FillAsync(await RunAsync(rule!, realm, from, to, ct), realm, to, ct);
            var former = before is null ? null : await paging.FillAsync(await RunAsync(before, realm, from, to, ct), realm, to, ct);
            return TypedResults.Ok(Envelope.Of(new BacktestAnswer("events", from, to, 0, after, former, former is null ? null : compare(after, former))));
        }
        catch (BacktestException error)
        {
            return TypedResults.Problem(error.Message, statusCode: StatusCodes.Status422UnprocessableEntity, title: "The backtest cannot be made");
        }
    }

    private static Rule? Parse(JsonElement? json, string field, string realm, DateTimeOffset now, Dictionary<string, string[]> errors)
    {
        if (json is not { ValueKind: JsonValueKind.Object } given || given.Deserialize<RuleBody>(WireJson.Options) is not { } body)
        {
            return null;
        }

        var (rule, wrong) = body.Check(Guid.Empty, realm, "backtest", now);
        foreach (var (place, expected) in wrong)
        {
            errors[$"{field}.{place}"] = expected;
        }

        return rule;
    }

    private static BacktestEpisode Describe(Rule rule, ReplayedEpisode episode, DateTimeOffset from, DateTimeOffset to)
    {
        var alert = EvaluateRulesOnEventsStored.Describe(
            new GroupHits(rule, episode.Realm, [.. episode.Group]), new Episode(BatchMatch.Microseconds(episode.StartsAt), BatchMatch.Microseconds(episode.EndsAt), episode.Value), episode.StartsAt);
        return new BacktestEpisode(
            alert.Labels, alert.Annotations, episode.StartsAt, episode.StartsAt, episode.EndsAt < to ? episode.EndsAt : null, Seconds(episode, from, to), episode.Value);
    }

    private static double Seconds(ReplayedEpisode episode, DateTimeOffset from, DateTimeOffset to) =>
        ((episode.EndsAt < to ? episode.EndsAt : to) - (episode.StartsAt > from ? episode.StartsAt : from)).TotalSeconds;

    // What can be asked of Metrics is asked there; the rule looks at the rest.
    private async IAsyncEnumerable<EventRecord> ReadAsync(RuleMatch match, string realm, DateTimeOffset start, DateTimeOffset to, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var filter = match.Tags.Take(MostTags).ToDictionary(tag => $"tags.{tag.Key}", tag => tag.Value);
        foreach (var (name, value) in new[] { ("event_type", match.EventType), ("source", match.Source), ("level", match.Level) })
        {
            if (value is not null)
            {
                filter[name] = value;
            }
        }

        string? cursor = null;
        do
        {
            var page = (await metrics.GetEventsAsync(realm, start, to, "asc", PageSize, cursor, filter, ct)).Data;
            foreach (var stored in page.Items)
            {
                yield return stored;
            }

            cursor = page.NextCursor;
        }
        while (cursor is not null);
    }

    // The steps of a sequence are read apart and merged; an event that is both comes once.
    private static async IAsyncEnumerable<EventRecord> InOrderAsync(IAsyncEnumerable<EventRecord>[] streams, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken ct)
    {
        var readers = streams.Select(stream => stream.GetAsyncEnumerator(ct)).ToList();
        try
        {
            var ahead = new List<IAsyncEnumerator<EventRecord>>();
            foreach (var reader in readers)
            {
                if (await reader.MoveNextAsync())
                {
                    ahead.Add(reader);
                }
            }

            var (moment, seen) = (DateTimeOffset.MinValue, new HashSet<Guid>());
            while (ahead.Count > 0)
            {
                var next = ahead.MinBy(reader => reader.Current.Timestamp)!;
                if (next.Current.Timestamp != moment)
                {
                    moment = next.Current.Timestamp;
                    seen.Clear();
                }

                if (seen.Add(next.Current.Id))
                {
                    yield return next.Current;
                }

                if (!await next.MoveNextAsync())
                {
                    ahead.Remove(next);
                }
            }
        }
        finally
        {
            foreach (var reader in readers)
            {
                await reader.DisposeAsync();
            }
        }
    }
}
