using Npgsql;
using Platform.Alerting.Alerts;
using Platform.Alerting.OnCall;
using Platform.Alerting.Routing;
using Platform.Alerting.Rules;
using Platform.Contracts;

namespace Platform.Alerting.RuleGroups;

/// <summary>One message about an alert that would have been, or why there would have been none.</summary>
/// <param name="At">Null: never.</param>
/// <param name="Receiver">Of the routing tree.</param>
/// <param name="Channel">Null when nobody is told.</param>
/// <param name="User">The person whom the channel reaches; null when it is nobody's in particular.</param>
/// <param name="Reason">Why then, as notifications word it; or why not.</param>
public sealed record BacktestPage(DateTimeOffset? At, string Receiver, string? Channel, string? User, string Reason);

/// <summary>Somebody who would have been told.</summary>
/// <param name="User">Null for a channel that is nobody's in particular: then <paramref name="Channel"/> names it.</param>
/// <param name="Messages">Over all contact methods of a person, repetitions and later steps of an escalation among them.</param>
/// <param name="Alerts">Of how many different alerts.</param>
public sealed record BacktestPaged(string? User, string? Channel, int Messages, int Alerts, DateTimeOffset FirstAt, DateTimeOffset LastAt);

/// <summary>
/// Who would have been told of a backtest's alerts: today's routing and schedules, as they say for the time of each alert, through the
/// functions that decide live (<see cref="Routing.Routing"/>, <see cref="Grouping"/>, <see cref="Muting"/>, <see cref="Reach"/>). Nobody acknowledges, so
/// escalations climb until an alert is over. The alerts are alone: silences and other alerts, which may have suppressed them, are not looked at.
/// </summary>
public sealed class BacktestPaging(NpgsqlDataSource db, RoutingStore routing, OnCallOptions onCall)
{
    private const int MostLooks = 20_000;
    private const int MostMessages = 20_000;
    private const int MostPagesOfAlert = 50;

    /// <param name="realm">Of alerts that name none.</param>
    /// <param name="to">The end of the range: what would have been told later is left out.</param>
    public async Task<BacktestResult> FillAsync(BacktestResult result, string realm, DateTimeOffset to, CancellationToken ct)
    {
        var alerts = result.Episodes.Where(episode => episode.FiredAt is not null).Select((episode, index) => new Fired(index, episode, episode.Labels.GetValueOrDefault(RuleLabels.Realm, realm))).ToList();
        if (alerts.Count == 0)
        {
            return result with { Paged = [] };
        }

        await using var connection = await db.OpenConnectionAsync(ct);
        await using var tx = await connection.BeginTransactionAsync(ct);
        var table = await routing.TableAsync(tx, ct);
        var run = new Run(new People(tx, alerts.Min(alert => alert.At), to, ct), onCall, to);
        foreach (var group in alerts
            .SelectMany(alert => Routing.Routing.Match(table.For(alert.Realm).Config.Route, alert.Labels).Select(route => (Alert: alert, Route: route)))
            .GroupBy(one => AlertGroup.Of(one.Alert.Realm, one.Route, one.Alert.Labels).Id))
        {
            var (first, route) = group.First();
            await run.TellAsync(route, table.For(first.Realm).Config, [.. group.Select(one => one.Alert).DistinctBy(alert => alert.Id)]);
        }

        var index = 0;
        return result with
        {
            Episodes = [.. result.Episodes.Select(episode => episode.FiredAt is null ? episode : episode with { Paged = Run.PagesOf(alerts[index++]) })],
            Paged = run.Paged(),
            PagedIsWhole = run.IsWhole,
        };
    }

    private sealed class Fired(int index, BacktestEpisode episode, string realm)
    {
        public Guid Id { get; } = new(index + 1, 0, 0, new byte[8]);

        public string Realm => realm;

        public PromQL.Labels Labels { get; } = LabelSet.Of(episode.Labels);

        public Severity Severity { get; } = Severities.OfLabel(episode.Labels.GetValueOrDefault("severity"));

        public DateTimeOffset At { get; } = episode.FiredAt!.Value;

        public DateTimeOffset? EndedAt { get; } = episode.EndedAt;

        public List<BacktestPage> Pages { get; } = [];
    }

    private sealed class Run(People people, OnCallOptions onCall, DateTimeOffset to)
    {
        private readonly Dictionary<(string? User, string? Channel), (int Messages, HashSet<Guid> Alerts, DateTimeOffset First, DateTimeOffset Last)> _paged = [];
        private readonly HashSet<(Guid Alert, string Policy)> _climbing = [];
        private int _looks;
        private int _messages;

        public bool IsWhole => _looks < MostLooks && _messages < MostMessages;

        public static IReadOnlyList<BacktestPage> PagesOf(Fired alert) => [.. alert.Pages.OrderBy(page => page.At ?? DateTimeOffset.MaxValue).Take(MostPagesOfAlert)];

        public IReadOnlyList<BacktestPaged> Paged() =>
            [.. _paged.Select(one => new BacktestPaged(one.Key.User, one.Key.Channel, one.Value.Messages, one.Value.Alerts.Count, one.Value.First, one.Value.Last))
                .OrderByDescending(one => one.Messages).ThenBy(one => one.User, StringComparer.Ordinal).ThenBy(one => one.Channel, StringComparer.Ordinal)];

        /// <summary>The life of one group of alerts, as the flusher leads it, from one moment at which something may happen to the next.</summary>
        public async Task TellAsync(RouteMatch route, RoutingConfig config, IReadOnlyList<Fired> alerts)
        {
            var receiver = config.Find(route.Receiver);
            var byId = alerts.ToDictionary(alert => alert.Id);
            var coming = new Queue<Fired>(alerts.OrderBy(alert => alert.At));
            var members = new Dictionary<Guid, Member>();
            var untold = byId.Keys.ToHashSet();
            var (mute, active) = (route.MuteTimeIntervals, route.ActiveTimeIntervals);
            DateTimeOffset? last = null;
            string? mutedBy = null;
            for (var now = coming.Peek().At; now <= to && _looks < MostLooks && _messages < MostMessages; _looks++)
            {
                while (coming.TryPeek(out var next) && next.At <= now)
                {
                    coming.Dequeue();
                    members[next.Id] = new Member(next.Id, AlertState.Firing, next.Severity, Grouping.TellAt(next.Severity, next.At, passed: false, route.GroupWait), null, Told: false);
                }

                foreach (var member in members.Values.Where(member => member.State == AlertState.Firing && byId[member.AlertId].EndedAt <= now).ToList())
                {
                    members[member.AlertId] = member with { State = AlertState.Resolved, ResolvedAt = byId[member.AlertId].EndedAt };
                }

                var isMuted = Muting.MutedBy(mute, active, config.TimeIntervals, now);
                mutedBy = isMuted ?? mutedBy;
                DateTimeOffset? change = mute.Count + active.Count > 0 ? Muting.NextChange(mute, active, config.TimeIntervals, now) : null;
                var verdict = Grouping.Judge(last, [.. members.Values], route.GroupInterval, route.RepeatInterval, isMuted is null ? null : change, now);
                foreach (var told in verdict.Tellings.Where(told => told.Resolved.Count == 0))
                {
                    var about = told.Reason == Grouping.Repeated ? told.Firing : [.. verdict.First];
                    Message(receiver, told.Reason, [.. about.Select(id => byId[id])], now);
                }

                untold.ExceptWith(verdict.First);
                foreach (var id in verdict.Told)
                {
                    members[id] = members[id] with { Told = true };
                    if (receiver?.EscalationPolicy is { } policy && _climbing.Add((id, policy)))
                    {
                        await ClimbAsync(byId[id], receiver.Name, policy, now);
                    }
                }

                foreach (var id in verdict.Gone)
                {
                    members.Remove(id);
                }

                // A group without members is forgotten; the next one begins anew.
                last = members.Count == 0 ? null : verdict.LastToldAt;
                var then = members.Values.Where(member => member.State == AlertState.Firing).Select(member => byId[member.AlertId].EndedAt)
                    .Append(verdict.DueAt).Append(coming.TryPeek(out var one) ? one.At : null).Append(members.Count > 0 ? change : null)
                    .Where(time => time > now).Min();
                if (then is null)
                {
                    break;
                }

                now = then.Value;
            }

            foreach (var id in IsWhole ? untold : [])
            {
                byId[id].Pages.Add(new BacktestPage(null, route.Receiver, null, null, mutedBy is null ? "it was over, or the range was, before it was due" : $"it was over, or the range was, before {mutedBy} was"));
            }
        }

        // To each channel of the receiver, about all of these together.
        private void Message(RoutingReceiver? receiver, string reason, IReadOnlyList<Fired> about, DateTimeOffset at)
        {
            foreach (var channel in receiver?.Channels ?? [])
            {
                Count(null, channel, about, at);
            }

            foreach (var alert in about)
            {
                foreach (var channel in receiver?.Channels ?? [])
                {
                    Page(alert, new BacktestPage(at, receiver!.Name, channel, null, reason));
                }

                if (receiver is { Channels: [], EscalationPolicy: null })
                {
                    Page(alert, new BacktestPage(null, receiver.Name, null, null, "the receiver has no channels"));
                }
            }
        }

        /// <summary>The steps of a policy from the first notification on, until the alert is over.</summary>
        private async Task ClimbAsync(Fired alert, string receiver, string name, DateTimeOffset begins)
        {
            if (await people.FindAsync(PlanKind.Policy, alert.Realm, name) is not { } plan)
            {
                Page(alert, new BacktestPage(null, receiver, null, null, $"there is no escalation policy {name}"));
                return;
            }

            var policy = plan.As<EscalationPolicy>();
            var reach = new Reach((kind, one) => people.FindAsync(kind, alert.Realm, one), people.OverridesAsync);
            var end = alert.EndedAt < to ? alert.EndedAt.Value : to;
            var due = begins;
            for (var number = 0; number < policy.Count && (due < end || number == 0) && _messages < MostMessages; number++)
            {
                var reason = policy.Reason(number);
                var told = await reach.AtAsync(policy[number], onCall.UrgencyOf(alert.Severity), due);
                foreach (var one in told)
                {
                    if (one.Channel is null)
                    {
                        Page(alert, new BacktestPage(null, receiver, null, one.User, $"{reason}: {one.Target}: {one.Note}"));
                    }
                    else if (one.At <= due || one.At < end)
                    {
                        Count(one.User, one.User is null ? one.Channel : null, [alert], one.At!.Value);
                        Page(alert, new BacktestPage(one.At, receiver, one.Channel, one.User, one.Note.Length > 0 ? $"{reason}; {one.Note}" : reason));
                    }
                }

                // A step that reaches nobody is followed by the next one at once.
                if (told.Any(one => one.Channel is not null))
                {
                    due = (told.Min(one => one.At) is { } first && first > due ? first : due) + policy.Wait(number);
                }
            }
        }

        private void Count(string? user, string? channel, IReadOnlyList<Fired> about, DateTimeOffset at)
        {
            _messages++;
            var (messages, alerts, first, last) = _paged.TryGetValue((user, channel), out var known) ? known : (0, [], at, at);
            alerts.UnionWith(about.Select(alert => alert.Id));
            _paged[(user, channel)] = (messages + 1, alerts, at < first ? at : first, at > last ? at : last);
        }

        private static void Page(Fired alert, BacktestPage page)
        {
            // Those of later steps are noted before repetitions; what is shown is chosen by time.
            if (alert.Pages.Count < 4 * MostPagesOfAlert)
            {
                alert.Pages.Add(page);
            }
        }
    }

    // Everybody is looked up once, and overrides are read for the whole range.
    private sealed class People(NpgsqlTransaction tx, DateTimeOffset from, DateTimeOffset to, CancellationToken ct)
    {
        private readonly Dictionary<(PlanKind, string, string), Plan?> _plans = [];
        private readonly Dictionary<Guid, IReadOnlyList<Override>> _overrides = [];

        public async Task<Plan?> FindAsync(PlanKind kind, string realm, string name) =>
            _plans.TryGetValue((kind, realm, name), out var known) ? known : _plans[(kind, realm, name)] = await OnCallStore.FindAsync(tx, kind, realm, name, ct);

        public async Task<IReadOnlyList<Override>> OverridesAsync(Plan schedule) =>
            _overrides.TryGetValue(schedule.Id, out var known)
                ? known
                : _overrides[schedule.Id] = [.. (await OnCallStore.OverridesAsync(tx, [schedule.Id], from, to.AddTicks(10), ct)).Select(one => one.Override)];
    }
}
