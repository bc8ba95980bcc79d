using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Notifications;
using Platform.Alerting.Routing;
using Platform.Alerting.RuleGroups;
using Platform.Contracts;
using Platform.Postgres;
using Platform.PromQL;

namespace Platform.Alerting.Tests;

/// <summary>What fails for one alert, or for one realm, is nobody else's trouble. The failures are real ones: the database refuses what a trigger tells it to.</summary>
public sealed class FairnessTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_alert_that_cannot_be_routed_keeps_no_other_alert_from_being_told_and_is_told_when_it_can_be()
    {
        await world.Db.ExecuteAsync($"""
            create function refuse_bad() returns trigger language plpgsql as 'begin raise exception ''refused''; end';
            create trigger refuse_bad before insert on notification_groups for each row when (new.realm = 'one-bad' and new.labels->>'host' = 'bad') execute function refuse_bad();
            """, Ct);
        await world.FireAsync("one-bad", "Down", Severity.High, ("host", "bad"));
        await world.FireAsync("one-bad", "Down", Severity.High, ("host", "good"));
        await world.FireAsync("sound", "Down", Severity.High, ("host", "a"));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("sound"));
        Assert.Equal(["webhook: first notification: good"], await world.ToldAsync("one-bad"));

        await world.Db.ExecuteAsync($"drop trigger refuse_bad on notification_groups", Ct);
        world.Clock.Advance(Aside<string>.LongestRest);
        await world.FlushAsync();
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: bad"], await world.ToldAsync("one-bad"));
    }

    [Fact]
    public async Task A_group_that_cannot_be_told_keeps_no_other_group_waiting()
    {
        await world.Db.ExecuteAsync($"""
            create function refuse_news() returns trigger language plpgsql as 'begin raise exception ''refused''; end';
            create trigger refuse_news before insert on notifications for each row when (new.realm = 'group-bad' and new.content::text like '%bad-host%') execute function refuse_news();
            """, Ct);
        await world.FireAsync("group-bad", "Down", Severity.High, ("host", "bad-host"));
        await world.FireAsync("group-bad", "Down", Severity.High, ("host", "good"));
        await world.FireAsync("group-sound", "Down", Severity.High, ("host", "a"));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("group-sound"));
        Assert.Equal(["webhook: first notification: good"], await world.ToldAsync("group-bad"));
        await world.Db.ExecuteAsync($"drop trigger refuse_news on notifications", Ct);
        world.Clock.Advance(Aside<string>.LongestRest);
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: bad-host"], await world.ToldAsync("group-bad"));
    }

    [Fact]
    public async Task A_realm_of_which_everything_fails_rests_and_the_others_go_on()
    {
        await world.Db.ExecuteAsync($"""
            create function refuse_realm() returns trigger language plpgsql as 'begin raise exception ''refused''; end';
            create trigger refuse_realm before insert on notification_groups for each row when (new.realm = 'all-bad') execute function refuse_realm();
            """, Ct);
        var hosts = Enumerable.Range(0, 40).Select(i => $"h{i:00}").ToList();
        foreach (var host in hosts)
        {
            await world.FireAsync("all-bad", "Down", Severity.High, ("host", host));
        }

        await world.FireAsync("all-sound", "Down", Severity.High, ("host", "a"));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("all-sound"));

        // While it rests, the others are told in one go.
        await world.FireAsync("all-sound", "Down", Severity.High, ("host", "b"));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: b"], await world.ToldAsync("all-sound"));

        await world.Db.ExecuteAsync($"drop trigger refuse_realm on notification_groups", Ct);
        for (var i = 0; i < 3; i++)
        {
            world.Clock.Advance(Aside<string>.LongestRest);
            await world.FlushAsync();
        }

        Assert.Equal(hosts.Select(host => $"webhook: first notification: {host}"), (await world.ToldAsync("all-bad")).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_silence_that_cannot_be_read_silences_nothing_and_stops_nobody()
    {
        await world.Db.ExecuteAsync($"""
            insert into silences (id, realm, matchers, owner, comment, starts_at, ends_at, created_at, updated_at, updated_by, version)
            values ({Guid.CreateVersion7()}, 'unread', {new[] { "no matcher at all" }}, 'anna', 'works', {world.Clock.Now}, {world.Clock.Now.AddHours(1)}, {world.Clock.Now}, {world.Clock.Now}, 'anna', 1)
            """, Ct);
        await world.SilenceAsync("unread", TimeSpan.FromHours(1), "host=\"quiet\"");
        await world.FireAsync("unread", "Down", Severity.High, ("host", "a"));
        await world.FireAsync("unread", "Down", Severity.High, ("host", "quiet"));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("unread"));
        await world.Db.ExecuteAsync($"delete from silences where realm = 'unread'", Ct);
    }

    [Fact]
    public async Task A_realm_with_very_many_open_alerts_leaves_those_of_the_others_in_sight()
    {
        await world.InTransactionAsync(tx => world.Alerts.FireAllAsync(
            tx, [.. Enumerable.Range(0, 1_100).Select(i => GroupingWorld.Alert("flood", "Down", Severity.Low, world.Clock.Now, ("host", $"h{i}")))], Ct));
        var last = await world.FireAsync("few", "Down", Severity.Low, ("host", "a"));
        var found = await world.InTransactionAsync(tx => GroupStore.FindOpenAsync(tx, [("flood", "{}"), ("few", """{"host":"a"}""")], 1_000, Ct));

        Assert.Equal(last, Assert.Single(found, one => one.Realm == "few").Id);
        Assert.Equal(1_000, found.Count(one => one.Realm == "flood"));
    }

    [Fact]
    public async Task The_newest_versions_of_a_routing_are_kept_and_the_newest_holds()
    {
        for (var version = 1; version <= RoutingStore.KeptVersions + 3; version++)
        {
            await world.RouteAsync("versions", GroupingWorld.Grouped.Replace("alertname", $"v{version}", StringComparison.Ordinal));
        }

        Assert.Equal(RoutingStore.KeptVersions, await world.Db.FindAsync($"select count(*) from routing where realm = 'versions'", row => row.GetInt64(0), Ct));
        await using var replica = world.Replica();
        var routing = replica.GetRequiredService<RoutingStore>();
        Assert.Equal(RoutingStore.KeptVersions + 3, (await routing.TableAsync(Ct)).For("versions").Version);
        // Another realm's change leaves this one as it was read.
        var before = (await routing.TableAsync(Ct)).For("versions");
        await world.RouteAsync("versions-too", GroupingWorld.Grouped);
        var table = await routing.TableAsync(Ct);
        Assert.Same(before, table.For("versions"));
        Assert.Equal(1, table.For("versions-too").Version);
    }

    [Fact]
    public async Task A_replica_whose_clock_is_ahead_takes_nothing_that_another_is_sending()
    {
        await world.FireAsync("claims", "Down");
        await world.FlushAsync();
        await using var replica = world.Replica();
        var deliveries = replica.GetRequiredService<DeliveryStore>();
        await deliveries.EnsureStatesAsync(Ct);
        var now = world.Clock.Now;
        Assert.Contains(await deliveries.ClaimAsync(_ => new Room(1_000, null, false), TimeSpan.FromMinutes(10), now, Ct), one => one.Realm == "claims");
        Assert.DoesNotContain(await deliveries.ClaimAsync(_ => new Room(1_000, null, false), TimeSpan.FromMinutes(10), now.AddMinutes(20), Ct), one => one.Realm == "claims");
        await world.ToldAsync("claims");
    }

    [Fact]
    public void Rules_of_a_group_wait_for_those_they_read_and_for_no_others()
    {
        var stages = new Stages();
        Assert.Equal([0, 0, 1, 2, 2, 3], new[] { Record("a", "up"), Record("b", "up"), Record("c", "a + b"), Record("d", "c"), Alert("sum({__name__=~\"a|c\"})"), Alert("ALERTS{x=\"y\"}") }
            .Select(rule => stages.Add(rule, Reads(rule))));

        // A chain without end shares the last stage; so does what reads everything.
        var chain = new Stages();
        var last = Enumerable.Range(1, 100).Select(i => Record($"r{i}", $"r{i - 1}")).Select(rule => chain.Add(rule, Reads(rule))).ToList();
        Assert.Equal([0, 1, Stages.Most - 1], [last[0], last[1], last[^1]]);
        Assert.Equal(Stages.Most - 1, chain.Add(Alert("{x=\"y\"}"), Reads(Alert("{x=\"y\"}"))));

        static IEnumerable<Expr.VectorSelector> Reads(QueryRule rule) => PromQL.Selectors.Of(Parser.Parse(rule.Expr), TimeSpan.Zero).Select(reach => reach.Selector);
        static QueryRule Record(string name, string expr) => Rule(null, name, expr);
        static QueryRule Alert(string expr) => Rule("Any", null, expr);
        static QueryRule Rule(string? alert, string? record, string expr) => new(
            Guid.NewGuid(), alert, record, expr, TimeSpan.Zero, TimeSpan.Zero, new Dictionary<string, string>(), new Dictionary<string, string>(), AbsencePolicy.Resolve, AbsencePolicy.Keep, null);
    }

    [Fact]
    public void Selectors_are_watched_as_far_as_the_share_of_their_realm_goes()
    {
        var watches = Enumerable.Range(0, 10).Select(i => (Rule: (RunningRule)null!, Watch: new RuleWatch("r", [new string('a', 50)]))).ToList();

        Assert.Equal(4, DataSignals.Within(watches, 450).Count());
        Assert.Equal(10, DataSignals.Within(watches, 1_000).Count());
    }

    [Fact]
    public void A_backtest_counts_all_episodes_and_keeps_those_that_began_first()
    {
        var (first, start) = (new FirstEpisodes(), world.Clock.Now);
        // They end in another order than they begin in.
        foreach (var i in Enumerable.Range(0, 3_000).Select(i => i * 1_009 % 3_000))
        {
            first.Add(new BacktestEpisode(new Dictionary<string, string>(), new Dictionary<string, string>(), start.AddSeconds(i), i % 3 == 0 ? null : start.AddSeconds(i), null, i % 3 == 0 ? 0 : 2, i));
        }

        Assert.Equal((2_000, 1_000, 4_000.0), (first.Fired, first.Pending, first.FiringSeconds));
        Assert.Equal(Enumerable.Range(0, FirstEpisodes.Most).Select(i => (double?)i), first.InOrder().Select(episode => episode.Value));
    }

    [Fact]
    public async Task Backtests_beyond_their_number_wait_for_a_place()
    {
        using var gate = new BacktestGate(new RuleGroupOptions { BacktestConcurrency = 1 });
        var place = await gate.EnterAsync(Ct);
        var next = gate.EnterAsync(Ct);
        Assert.False(next.IsCompleted);
        place.Dispose();
        (await next).Dispose();
    }

    [Fact]
    public void Inhibitors_are_those_that_their_rule_names_however_they_are_looked_up()
    {
        var random = new Random(7);
        string[] words = ["", "x", "y"];
        var open = Enumerable.Range(0, 60).Select(i => new OpenAlert(Guid.CreateVersion7(), i % 2 == 0 ? "r" : "other", $"a{i}", Some())).ToList();
        InhibitRule[] rules =
        [
            new(MatcherNotation.Parse("a=\"x\""), MatcherNotation.Parse("b=\"y\""), ["c"]),
            new(MatcherNotation.Parse("a=~\"x|y\""), MatcherNotation.Parse("a=~\"x|y\", b!=\"x\""), ["c", "b"]),
            new(MatcherNotation.Parse("a!=\"x\""), MatcherNotation.Parse("b=~\".*\""), [], "parent"),
        ];
        var inhibitors = new Inhibitors(open);
        foreach (var target in Enumerable.Range(0, 200).Select(_ => Some()))
        {
            foreach (var rule in rules)
            {
                Assert.Equal(open.Where(one => one.Realm == "r" && rule.Holds(one.Labels, target)).Select(one => one.Id).Order(), inhibitors.Of("r", rule, target).Select(one => one.Id));
            }
        }

        Labels Some() => Labels.Of([.. new[] { "a", "b", "c" }.Select(name => (name, words[random.Next(words.Length)])).Where(label => label.Item2.Length > 0)]);
    }

    [Fact]
    public void Time_intervals_of_a_realm_are_bounded_all_together()
    {
        var parts = Enumerable.Range(0, 300).Select(_ => new TimePart([new NumberRange(0, 10)], [new NumberRange(1, 2)])).ToList();
        var config = RoutingConfig.Default(_ => ["webhook"]) with { TimeIntervals = [new("small", [new TimePart()]), new("large", parts)] };

        Assert.Empty(config.Faults(new HashSet<string> { "webhook" }));
        var fault = Assert.Single((config with { TimeIntervals = [.. config.TimeIntervals, new("more", parts[..40])] }).Faults(new HashSet<string> { "webhook" }));
        Assert.Contains("\"large\" alone has 900", fault, StringComparison.Ordinal);
    }

    [Fact]
    public void What_failed_rests_longer_each_time_and_at_most_a_minute()
    {
        var aside = new Aside<int>();
        var now = world.Clock.Now;
        Assert.Equal([1, 2, 4, 8, 16, 32, 60, 60], Enumerable.Range(0, 8).Select(_ => aside.Failed(1, now).TotalSeconds));
        Assert.Empty(aside.Due(now.AddSeconds(59)));
        Assert.Equal([1], aside.Due(now.AddSeconds(60)));
        aside.Passed(1);
        Assert.Empty(aside.All);
        Assert.Equal(Aside<int>.FirstRest, aside.Failed(1, now));

        for (var i = 0; i <= Aside<int>.Most; i++)
        {
            aside.Failed(i, now);
        }

        Assert.Equal(Aside<int>.Most, aside.All.Length);
    }

    [Theory]
    [InlineData(1, 0)]
    [InlineData(100, 0, 57, 99)]
    [InlineData(64)]
    public async Task Halving_finds_those_that_fail_alone_and_does_the_work_for_all_others(int count, params int[] bad)
    {
        var (done, failed, attempts) = (new List<int>(), new List<int>(), 0);
        await Halving.EachAsync(
            Enumerable.Range(0, count).ToList(),
            some =>
            {
                attempts++;
                if (some.Any(bad.Contains))
                {
                    throw new InvalidDataException("bad");
                }

                done.AddRange(some);
                return Task.CompletedTask;
            },
            (one, _) => failed.Add(one), _ => Task.CompletedTask, Ct);

        Assert.Equal(bad, failed);
        Assert.Equal(Enumerable.Range(0, count).Except(bad), done);
        Assert.True(attempts <= 1 + bad.Length * 16);
    }

    [Fact]
    public async Task Nobody_is_blamed_for_a_database_that_is_away()
    {
        var blamed = new List<int>();
        await Assert.ThrowsAsync<TimeoutException>(() => Halving.EachAsync<int>(
            [1, 2, 3], _ => throw new InvalidDataException(), (one, _) => blamed.Add(one), _ => throw new TimeoutException(), Ct));
        Assert.Empty(blamed);
    }
}

/// <summary>The same of events and windows, in a real service.</summary>
public sealed class FairCountingTests(AlertingWorld world) : IClassFixture<AlertingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Events_that_one_rule_cannot_count_are_counted_by_the_others()
    {
        await RefuseAsync("poisoned");
        await world.CreateRuleAsync("poisoned", new { tags = new { action = "shared" } }, threshold: 2, groupBy: ["tags.group"]);
        await world.CreateRuleAsync("sound", new { tags = new { action = "shared" } }, threshold: 2, groupBy: ["tags.group"]);
        await world.TellAsync([.. Enumerable.Range(0, 6).Select(i => TestEvent.Action(world.Start.AddSeconds(i), "shared", $"g{i % 3}"))]);

        var received = await world.Receiver.WaitAsync("\"sound\"", 3);
        Assert.Equal(["g0", "g1", "g2"], received.Select(one => one.Label("group")).Order(StringComparer.Ordinal));
        Assert.Empty(await world.AlertsAsync("poisoned"));
        // Nothing half done is left of those that failed: no window counts events twice.
        Assert.Equal(3, await world.CountAsync($"select count(*) from event_windows w join rules r on r.id = w.rule_id where r.name in ('poisoned', 'sound')"));
    }

    [Fact]
    public async Task An_absence_that_cannot_be_fired_keeps_no_other_from_firing()
    {
        await RefuseAsync("poisoned-absence");
        foreach (var name in (string[])["poisoned-absence", "sound-absence"])
        {
            using var answer = await System.Net.Http.Json.HttpClientJsonExtensions.PostAsJsonAsync(
                world.Moderator, "api/v1/monitoring/rules",
                new { name, match = new { tags = new { action = "never" } }, window_seconds = 1, severity = "high", condition = new { type = "absence", from_start = true } }, Ct);
            Assert.True(answer.IsSuccessStatusCode, await answer.Content.ReadAsStringAsync(Ct));
        }

        await world.Receiver.WaitAsync("\"sound-absence\"", 1);
        Assert.Empty(await world.AlertsAsync("poisoned-absence"));
    }

    // A trigger's condition cannot have parameters.
    private async Task RefuseAsync(string name)
    {
        await using var command = world.Db.CreateCommand($"""
            create or replace function refuse_alert() returns trigger language plpgsql as 'begin raise exception ''refused''; end';
            create trigger "refuse-{name}" before insert on alerts for each row when (new.name = '{name}') execute function refuse_alert();
            """);
        await command.ExecuteNonQueryAsync(Ct);
    }
}
