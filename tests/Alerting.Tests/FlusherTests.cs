using Microsoft.Extensions.DependencyInjection;
using Platform.Alerting.Alerts;
using Platform.Alerting.Channels;
using Platform.Alerting.Routing;
using Platform.Contracts;
using Platform.Postgres;

namespace Platform.Alerting.Tests;

/// <summary>From an alert's change to the notifications that follow from it, on a real database and a clock of the test's own. Each test has a realm.</summary>
public sealed class FlusherTests(GroupingWorld world) : IClassFixture<GroupingWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Where_nobody_configured_anything_each_alert_is_told_at_once_and_so_is_its_end()
    {
        var first = await world.FireAsync("plain", "Down", Severity.Low, ("host", "a"));
        await world.FireAsync("plain", "Down", Severity.Critical, ("host", "b"));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: a", "webhook: first notification: b"], await world.ToldAsync("plain"));

        await world.ResolveAsync(first);
        await world.FlushAsync();
        Assert.Equal(["webhook: all alerts resolved: -a"], await world.ToldAsync("plain"));
    }

    [Fact]
    public async Task Who_takes_care_is_shown_where_that_can_be_shown_once_nothing_calls_any_more()
    {
        await world.ChannelAsync("care", "pager", ChannelKind.Pagerduty, ("routing_key", "R"));
        await world.ChannelAsync("care", "bot", ChannelKind.Slack, ("token", "xoxb-1"), ("channel", "#ops"));
        await world.ChannelAsync("care", "hook", ChannelKind.Slack, ("url", "https://hooks.example/1"));
        await world.RouteAsync("care", "{route: {receiver: team, group_by: [alertname], group_wait: 0s}, receivers: [{name: team, channels: [pager, bot, hook, webhook]}]}");
        var a = await world.FireAsync("care", "Down", Severity.High, ("host", "a"));
        world.Clock.Advance(TimeSpan.FromSeconds(1));
        var b = await world.FireAsync("care", "Down", Severity.High, ("host", "b"));
        await world.FlushAsync();
        Assert.Equal(4, (await world.ToldAsync("care")).Count(told => told.EndsWith(": first notification: a b", StringComparison.Ordinal)));

        await world.AcknowledgeAsync(a);
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("care"));
        await world.AcknowledgeAsync(b);
        await world.FlushAsync();
        Assert.Equal(["pager: acknowledged by anna: mine: a b", "bot: acknowledged by anna: mine: a b"], await world.ToldAsync("care"));
        Assert.Equal(2, await world.Db.FindAsync($"select count(*) from notifications where realm = 'care' and kind = 'acknowledged' and status = 'firing'", row => row.GetInt64(0), Ct));

        // What nobody was told of, and what is over, is acknowledged nowhere.
        await world.SilenceAsync("care", TimeSpan.FromHours(1), "host=\"c\"");
        var c = await world.FireAsync("care", "Other", Severity.High, ("host", "c"));
        await world.FlushAsync();
        await world.AcknowledgeAsync(c);
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("care"));
        await world.ResolveAsync(a);
        await world.ResolveAsync(b);
        await world.FlushAsync();
        Assert.Equal(4, (await world.ToldAsync("care")).Count(told => told.Contains(": all alerts resolved: -a -b", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Grouped_alerts_wait_fold_in_and_are_repeated_by_the_clock()
    {
        await world.RouteAsync("grouped", GroupingWorld.Grouped);
        var a = await world.FireAsync("grouped", "Down", Severity.High, ("host", "a"));
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(20));
        var b = await world.FireAsync("grouped", "Down", Severity.High, ("host", "b"));
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("grouped"));

        world.Clock.Advance(TimeSpan.FromSeconds(10));
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: a b"], await world.ToldAsync("grouped"));

        world.Clock.Advance(TimeSpan.FromSeconds(60));
        await world.FireAsync("grouped", "Down", Severity.High, ("host", "c"));
        await world.FireAsync("grouped", "Down", Severity.Critical, ("host", "d"));
        await world.FlushAsync();
        Assert.Equal(["webhook: new alerts added: d a b c"], await world.ToldAsync("grouped"));

        await world.ResolveAsync(a);
        await world.FlushAsync();
        Assert.Equal(["webhook: some alerts resolved: d b c -a"], await world.ToldAsync("grouped"));

        world.Clock.Advance(TimeSpan.FromHours(4));
        await world.AcknowledgeAsync(b);
        await world.FlushAsync();
        Assert.Equal(["webhook: repeat interval elapsed: d b c"], await world.ToldAsync("grouped"));
    }

    [Fact]
    public async Task What_cannot_be_read_stands_in_nobodys_way()
    {
        await world.RouteAsync("odd", GroupingWorld.Grouped);
        var silence = await world.SilenceAsync("odd", TimeSpan.FromHours(1), "host=\"a\"");
        // As they could be stored once.
        string[] matchers = ["a,b=\"x\""];
        await world.Db.ExecuteAsync($"update silences set matchers = {matchers} where id = {silence.Id}", Ct);
        const string config = """{"route": {"receiver": "team", "matchers": ["a,b=\"x\""]}, "receivers": [{"name": "team", "channels": ["webhook"]}]}""";
        await world.InTransactionAsync(tx => tx.ExecuteAsync($"insert into routing (realm, version, config, changed_by, changed_at) values ('odd', 2, {config}::jsonb, 'test', {world.Clock.Now})", Ct));

        await world.FireAsync("odd", "Down", Severity.High, ("host", "a"));
        await world.FireAsync("beside-odd", "Down", Severity.High, ("host", "b"));
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: b"], await world.ToldAsync("beside-odd"));
        Assert.Equal(["webhook: first notification: a"], await world.ToldAsync("odd"));
        var read = (await world.Silences.FindAsync(silence.Id, Ct))!;
        Assert.Equal(matchers, read.Matchers);
        await world.InTransactionAsync(async tx =>
        {
            await world.Silences.UpdateAsync(tx, read with { EndsAt = world.Clock.Now, Version = 2 }, Ct);
            return true;
        });
        await world.FlushAsync();
        Assert.Equal(matchers, (await world.Silences.FindAsync(silence.Id, Ct))!.Matchers);
    }

    [Fact]
    public async Task An_acknowledgement_that_times_out_is_told_again()
    {
        var id = await world.FireAsync("ack", "Down");
        await world.FlushAsync();
        await world.ToldAsync("ack");
        await world.AcknowledgeAsync(id, TimeSpan.FromMinutes(30));
        world.Clock.Advance(TimeSpan.FromHours(5));
        var endings = ActivatorUtilities.CreateInstance<AlertEndings>(world.Replica());
        await endings.TickAsync(Ct);
        await world.FlushAsync();

        Assert.Equal(["webhook: acknowledgement by anna timed out: Down"], await world.ToldAsync("ack"));
        var alert = await world.GetAsync(id);
        Assert.Equal((AlertState.Firing, null, null), (alert.State, alert.Acknowledged, alert.AcknowledgedUntil));
        Assert.Equal(["routed", "acknowledged", "acknowledgement_ended"], (await world.Alerts.LogOfAsync(id, 10, Ct)).Select(entry => entry.What));
    }

    [Fact]
    public async Task An_alert_whose_sender_falls_silent_is_over()
    {
        var endings = ActivatorUtilities.CreateInstance<AlertEndings>(world.Replica());
        await endings.TickAsync(Ct);
        var alert = GroupingWorld.Alert("silent", "Down", Severity.High, world.Clock.Now) with { ExpiresAt = world.Clock.Now.AddSeconds(20) };
        await world.InTransactionAsync(tx => world.Alerts.FireAsync(tx, alert, Ct));
        await world.InTransactionAsync(tx => world.Alerts.FireAsync(tx, alert with { Id = Guid.CreateVersion7(), ExpiresAt = world.Clock.Now.AddSeconds(40) }, Ct));
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await endings.TickAsync(Ct);
        Assert.Equal(AlertState.Firing, (await world.GetAsync(alert.Id)).State);

        world.Clock.Advance(TimeSpan.FromSeconds(10));
        await endings.TickAsync(Ct);
        Assert.Equal(AlertState.Resolved, (await world.GetAsync(alert.Id)).State);
    }

    [Fact]
    public async Task A_silence_is_obeyed_shown_and_told_when_it_ends_for_what_still_fires()
    {
        var told = await world.FireAsync("quiet", "Known", Severity.High, ("host", "a"));
        await world.FlushAsync();
        await world.ToldAsync("quiet");
        var silence = await world.SilenceAsync("quiet", TimeSpan.FromHours(1), "host=~\"a|b\"");
        var muted = await world.FireAsync("quiet", "New", Severity.Critical, ("host", "b"));
        await world.FireAsync("quiet", "Other", Severity.High, ("host", "c"));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: c"], await world.ToldAsync("quiet"));
        foreach (var id in (Guid[])[told, muted])
        {
            var reason = Assert.Single((await world.GetAsync(id)).SuppressedBy!);
            Assert.Equal((SuppressionKind.Silence, silence.Id, "anna", "works"), (reason.Kind, reason.Id, reason.Name, reason.Reason));
        }

        world.Clock.Advance(TimeSpan.FromHours(1));
        await world.FlushAsync();
        Assert.Equal(["webhook: silence ended: a", "webhook: first notification: b"], (await world.ToldAsync("quiet")).Order(StringComparer.Ordinal).Reverse());
        Assert.Empty((await world.GetAsync(told)).SuppressedBy!);
        Assert.Equal(["routed", "suppressed", "released"], (await world.Alerts.LogOfAsync(told, 10, Ct)).Select(entry => entry.What));
    }

    [Fact]
    public async Task A_silence_that_is_to_begin_begins_by_the_clock_and_changed_matchers_release_what_they_took()
    {
        var id = await world.FireAsync("planned", "Down", Severity.High, ("host", "a"));
        var silence = await world.SilenceAsync("planned", TimeSpan.FromHours(1), "host=\"a\"", startsIn: TimeSpan.FromMinutes(10));
        await world.FlushAsync();
        Assert.Single(await world.ToldAsync("planned"));
        Assert.Empty((await world.GetAsync(id)).SuppressedBy!);

        world.Clock.Advance(TimeSpan.FromMinutes(10));
        await world.FlushAsync();
        Assert.Single((await world.GetAsync(id)).SuppressedBy!);

        await world.InTransactionAsync(async tx =>
        {
            await world.Silences.UpdateAsync(tx, silence with { Matching = MatcherNotation.Parse("host=\"z\""), Version = 2 }, Ct);
            return true;
        });
        await world.FlushAsync();
        Assert.Empty((await world.GetAsync(id)).SuppressedBy!);
        Assert.Equal(["webhook: silence ended: a"], await world.ToldAsync("planned"));
    }

    [Fact]
    public async Task An_alert_that_fires_and_ends_within_a_silence_is_told_to_nobody_and_says_so()
    {
        await world.SilenceAsync("within", TimeSpan.FromHours(1), "host=\"a\"");
        var id = await world.FireAsync("within", "Down", Severity.Critical, ("host", "a"));
        await world.FlushAsync();
        await world.ResolveAsync(id);
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromHours(2));
        await world.FlushAsync();

        Assert.Empty(await world.ToldAsync("within"));
        Assert.Equal(["suppressed", "routed", "not_told"], (await world.Alerts.LogOfAsync(id, 10, Ct)).Select(entry => entry.What));
    }

    [Fact]
    public async Task An_alert_inhibits_others_while_it_fires_whichever_comes_first()
    {
        await world.RouteAsync("inhibit", GroupingWorld.Grouped + """

            inhibit_rules: [{source_matchers: ['severity="critical"'], target_matchers: ['severity=~"medium|low"'], equal: [cluster]}]
            """);
        var early = await world.FireAsync("inhibit", "Slow", Severity.Medium, ("cluster", "x"), ("host", "early"));
        await world.FlushAsync();
        var source = await world.FireAsync("inhibit", "Down", Severity.Critical, ("cluster", "x"));
        var late = await world.FireAsync("inhibit", "Late", Severity.Low, ("cluster", "x"), ("host", "late"));
        await world.FireAsync("inhibit", "Else", Severity.Low, ("cluster", "y"), ("host", "else"));
        await world.FlushAsync();
        world.Clock.Advance(TimeSpan.FromSeconds(30));
        await world.FlushAsync();

        Assert.Equal(["webhook: first notification: Down", "webhook: first notification: else"], await world.ToldAsync("inhibit"));
        foreach (var id in (Guid[])[early, late])
        {
            var reason = Assert.Single((await world.GetAsync(id)).SuppressedBy!);
            Assert.Equal((SuppressionKind.Inhibition, source, "Down"), (reason.Kind, reason.Id, reason.Name));
        }

        await world.ResolveAsync(source);
        await world.FlushAsync();
        Assert.Equal(
            ["webhook: all alerts resolved: -Down", "webhook: first notification: early", "webhook: first notification: late"], (await world.ToldAsync("inhibit")).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_parent_that_fires_suppresses_its_children_and_says_so()
    {
        await world.RouteAsync("parent", GroupingWorld.Grouped + """

            dependencies: [{name: shops need the database, parent_matchers: ['alertname="DatabaseDown"'], child_matchers: ['service="shop"'], equal: [region]}]
            """);
        var parent = await world.FireAsync("parent", "DatabaseDown", Severity.Critical, ("region", "eu"));
        var child = await world.FireAsync("parent", "ShopErrors", Severity.High, ("region", "eu"), ("service", "shop"));
        await world.FlushAsync();

        var reason = Assert.Single((await world.GetAsync(child)).SuppressedBy!);
        Assert.Equal((SuppressionKind.Parent, parent, "shops need the database: DatabaseDown fires, on which this depends"), (reason.Kind, reason.Id, reason.Reason));
    }

    [Fact]
    public async Task A_mute_interval_is_obeyed_on_the_clock_of_its_place_and_ends_are_told_after_it()
    {
        await world.RouteAsync("night", """
            route: {receiver: team, group_by: ['...'], group_wait: 0s, repeat_interval: 30d, routes: [{matchers: ['severity="low"'], receiver: team, mute_time_intervals: [night]}]}
            receivers: [{name: team, channels: [webhook]}]
            time_intervals: [{name: night, time_intervals: [{location: Europe/Berlin, times: [{start_time: '22:00', end_time: '24:00'}, {start_time: '00:00', end_time: '07:00'}]}]}]
            """);
        var before = world.Clock.Now;
        // 22:30 in Berlin, in winter.
        world.Clock.Now = new DateTimeOffset(2027, 1, 11, 21, 30, 0, TimeSpan.Zero);
        var low = await world.FireAsync("night", "Low", Severity.Low);
        await world.FireAsync("night", "High", Severity.High);
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: High"], await world.ToldAsync("night"));
        Assert.Equal((SuppressionKind.MuteInterval, "night"), Assert.Single((await world.GetAsync(low)).SuppressedBy!) is var reason ? (reason.Kind, reason.Name) : default);

        world.Clock.Now = new DateTimeOffset(2027, 1, 12, 5, 59, 59, TimeSpan.Zero);
        await world.FlushAsync();
        Assert.Empty(await world.ToldAsync("night"));
        world.Clock.Now = new DateTimeOffset(2027, 1, 12, 6, 0, 0, TimeSpan.Zero);
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: Low"], await world.ToldAsync("night"));
        Assert.Empty((await world.GetAsync(low)).SuppressedBy!);
        world.Clock.Now = before;
    }

    [Fact]
    public async Task A_changed_tree_routes_what_is_open_again_and_whoever_was_told_hears_of_the_end()
    {
        await world.RouteAsync("moved", GroupingWorld.Grouped.Replace("30s", "0s", StringComparison.Ordinal));
        var id = await world.FireAsync("moved", "Down");
        await world.FlushAsync();
        await world.ToldAsync("moved");

        await world.RouteAsync("moved", """
            route: {receiver: other, group_by: [alertname], group_wait: 0s}
            receivers: [{name: other, channels: [email]}, {name: team, channels: [webhook]}]
            """);
        await world.FlushAsync();
        Assert.Equal(["email: first notification: Down"], await world.ToldAsync("moved"));

        await world.ResolveAsync(id);
        await world.FlushAsync();
        Assert.Equal(["email: all alerts resolved: -Down", "webhook: all alerts resolved: -Down"], (await world.ToldAsync("moved")).Order(StringComparer.Ordinal));
        Assert.Equal(0, await world.Db.FindAsync($"select count(*) from notification_groups where realm = 'moved'", row => row.GetInt64(0), Ct));
    }

    [Fact]
    public async Task Two_flushers_tell_each_alert_once_and_in_order()
    {
        var ids = new List<Guid>();
        for (var i = 0; i < 60; i++)
        {
            ids.Add(await world.FireAsync("shared", "Down", Severity.High, ("host", $"h{i}")));
        }

        await using var second = world.Replica();
        var other = second.GetRequiredService<Flusher>();
        var ending = Task.Run(async () =>
        {
            foreach (var id in ids)
            {
                await world.ResolveAsync(id);
            }
        }, Ct);
        while (!ending.IsCompleted)
        {
            await Task.WhenAll(world.Flusher.TickAsync(Ct), other.TickAsync(Ct));
        }

        await ending;
        await world.FlushAsync();
        var told = await world.ToldAsync("shared");
        foreach (var host in Enumerable.Range(0, 60).Select(i => $"h{i}"))
        {
            Assert.Equal([$"webhook: first notification: {host}", $"webhook: all alerts resolved: -{host}"], told.Where(one => one.EndsWith(' ' + host, StringComparison.Ordinal) || one.EndsWith('-' + host, StringComparison.Ordinal)));
        }
    }

    [Fact]
    public async Task A_flush_that_fails_at_its_last_step_leaves_everything_for_the_next_one()
    {
        await world.FireAsync("torn", "Down");
        await world.Db.ExecuteAsync($"""
            create function refuse_group() returns trigger language plpgsql as $f$ begin if new.realm = 'torn' and new.last_told_at is not null then raise exception 'torn'; end if; return new; end $f$;
            """, Ct);
        await world.Db.ExecuteAsync($"create trigger refuse_group before update on notification_groups for each row execute function refuse_group()", Ct);
        Assert.NotEqual(TimeSpan.Zero, await world.Flusher.TickAsync(Ct));
        Assert.Empty(await world.ToldAsync("torn"));

        await world.Db.ExecuteAsync($"drop trigger refuse_group on notification_groups", Ct);
        world.Clock.Advance(Aside<string>.FirstRest);
        await world.FlushAsync();
        Assert.Equal(["webhook: first notification: Down"], await world.ToldAsync("torn"));
    }

    [Fact]
    public async Task A_large_group_is_listed_in_part_and_counted_whole()
    {
        await world.RouteAsync("large", GroupingWorld.Grouped.Replace("30s", "0s", StringComparison.Ordinal));
        await world.InTransactionAsync(async tx =>
        {
            for (var i = 0; i < 130; i++)
            {
                await world.Alerts.FireAsync(tx, GroupingWorld.Alert("large", "Down", Severity.High, world.Clock.Now, ("host", $"h{i}")), Ct);
            }

            return true;
        });
        await world.FlushAsync();

        var sizes = await world.Db.QueryAsync(
            $"select jsonb_array_length(content->'alerts'), (content->>'truncated_alerts')::int from notifications where realm = 'large'", row => (row.GetInt32(0), row.GetInt32(1)), Ct);
        Assert.Equal([(100, 30)], sizes);
    }
}
