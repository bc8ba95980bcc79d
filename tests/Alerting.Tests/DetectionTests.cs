using System.Text.Json;
using Platform.Alerting.Detections;
using Platform.Alerting.Rules;
using Platform.Alerting.Windows;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>
/// Every detection replayed twice: an attack that it must find, and traffic that looks alike and must not trouble anybody. Benign traffic
/// is held against the whole pack, not only against the detection it is near to.
/// </summary>
public sealed class DetectionTests
{
    private static readonly DateTimeOffset Noon = new(2026, 3, 4, 12, 0, 0, TimeSpan.Zero);
    private static readonly DetectionOptions Defaults = new();

    public static TheoryData<string> Rules => [.. DetectionPack.Rules(Defaults, Noon).Select(rule => rule.Name)];

    [Theory]
    [MemberData(nameof(Rules))]
    public void An_attack_is_found(string name)
    {
        var found = Fired(Attacks[name]());

        Assert.Contains(name, found.Select(episode => episode.Rule.Name));
    }

    [Theory]
    [MemberData(nameof(Rules))]
    public void A_little_less_is_not(string name) => Assert.DoesNotContain(name, Fired(LittleLess[name]()).Select(episode => episode.Rule.Name));

    [Fact]
    public void A_password_manager_that_retries_troubles_nobody() =>
        Assert.Empty(Fired(Every(60, 60, i => Login(i, "failure", "anna", "198.51.100.7"))));

    [Fact]
    public void An_office_behind_one_address_troubles_nobody_on_a_morning_with_typing_errors() =>
        // 200 people within two hours; every fifth mistypes once, every fortieth twice, then gets in.
        Assert.Empty(Fired([
            .. Enumerable.Range(0, 200).SelectMany(person => Enumerable.Range(0, person % 40 == 0 ? 2 : person % 5 == 0 ? 1 : 0)
                .Select(slip => Login(person * 36 + slip * 5, "failure", $"person-{person}", "198.51.100.1"))),
            .. Enumerable.Range(0, 200).Select(person => Login(person * 36 + 12, "success", $"person-{person}", "198.51.100.1")),
        ]));

    [Fact]
    public void The_exit_of_a_VPN_is_no_journey_when_the_source_or_a_setting_says_so()
    {
        TestEvent[] journey = [Place(0, "anna", 52.52, 13.40), Place(600, "anna", 37.77, -122.42, "203.0.113.5")];
        var proxied = Place(600, "anna", 37.77, -122.42) is var exit ? exit with { Tags = [.. exit.Tags, ("proxy", true)] } : throw new InvalidOperationException();

        Assert.Equal("impossible_travel", Assert.Single(Fired(journey)).Rule.Name);
        Assert.Empty(Fired([journey[0], proxied]));
        Assert.Empty(Fired(journey, new DetectionOptions { TravelIgnoredNetworks = ["203.0.113.0/24"] }));
    }

    [Fact]
    public void Ordinary_use_of_a_second_factor_troubles_nobody() =>
        // A login, a code that is mistyped now and then, a push that was not meant; twenty people, all day.
        Assert.Empty(Fired([
            .. Enumerable.Range(0, 160).SelectMany(i => new[]
            {
                Login(i * 180, "success", $"person-{i % 20}", $"198.51.100.{i % 20}"),
                Mfa(i * 180 + 5, i % 7 == 0 ? "failure" : i % 31 == 0 ? "denied" : "success", $"person-{i % 20}", session: $"session-{i}"),
                Mfa(i * 180 + 15, "success", $"person-{i % 20}", session: $"session-{i}"),
            }),
        ]));

    [Fact]
    public void A_second_factor_that_is_refused_and_then_accepted_is_critical_and_the_same_incident()
    {
        var found = Fired([.. Every(5, 60, i => Mfa(i, "denied", "anna")), Mfa(400, "success", "anna")]);

        Assert.Equal([("mfa_fatigue", Severity.High), ("mfa_fatigue_accepted", Severity.Critical)], found.Select(one => (one.Rule.Name, one.Rule.Severity)));
        Assert.Equal("default/mfa_fatigue:{user_id=\"anna\"}", Assert.Single(found.Select(one => one.Rule.GroupKey(one.Realm, one.Group)).Distinct()));
    }

    [Fact]
    public void All_ways_to_guess_from_one_address_are_one_incident()
    {
        var found = Fired([.. Every(30, 8, i => Login(i, "failure", $"user-{i / 16}", "203.0.113.9")), .. Every(10, 5, i => Login(i, "failure", "root", "203.0.113.9"))]);

        Assert.Equal(["brute_force", "credential_stuffing", "password_spray"], found.Select(one => one.Rule.Name).Order(StringComparer.Ordinal));
        Assert.Single(found.Select(one => one.Rule.GroupKey(one.Realm, one.Group)).Distinct());
    }

    [Fact]
    public void Failed_logins_with_a_user_are_the_pack_s_and_the_others_are_left_to_auth_failures()
    {
        var named = Every(10, 10, i => Login(i, "failure", "anna", "203.0.113.9"));
        var nameless = Every(5, 10, i => TestEvent.FailedLogin(Noon.AddSeconds(i), "203.0.113.9"));

        Assert.Equal(["brute_force"], Replayed(named, Defaults).Select(one => one.Rule.Name));
        Assert.Equal(["auth_failures"], Replayed(nameless, Defaults).Select(one => one.Rule.Name));
        Assert.Equal(["auth_failures"], Replayed(named, new DetectionOptions { Enabled = false }).Select(one => one.Rule.Name));
    }

    [Fact]
    public void A_change_is_drift_only_outside_of_the_change_windows()
    {
        var options = new DetectionOptions { ChangeWindows = "monday:friday 09:00-17:00 Europe/Berlin; saturday" };
        TestEvent Change(int day, int hour) => new(new DateTimeOffset(2026, 3, day, hour, 0, 0, TimeSpan.Zero), Tags: [("action", "config_change"), ("outcome", "success"), ("setting", "session-hours"), ("user_id", "admin")]);

        Assert.Empty(Fired([Change(4, 8)], options)); // Wednesday, 9:00 in Berlin
        Assert.Empty(Fired([Change(7, 23)], options)); // Saturday
        Assert.Equal(["configuration_drift"], Fired([Change(4, 16)], options).Select(one => one.Rule.Name)); // 17:00 in Berlin
        Assert.Equal(["configuration_drift"], Fired([Change(8, 12)], options).Select(one => one.Rule.Name)); // Sunday
        Assert.Equal(["configuration_drift"], Fired([Change(4, 8)]).Select(one => one.Rule.Name)); // no windows at all
    }

    [Fact]
    public void Every_detection_says_how_bad_it_is_which_technique_it_is_and_what_to_do()
    {
        var rules = DetectionPack.Rules(Defaults, Noon);

        Assert.All(rules, rule => Assert.Matches("^T1[0-9]{3}(\\.[0-9]{3})?$", rule.Labels["mitre_attack"]));
        Assert.All(rules, rule => Assert.True(rule.Annotations["runbook"].Length > 80, $"{rule.Name} has no runbook"));
        Assert.All(rules, rule => Assert.True(rule.Enabled, rule.Name));
        Assert.Equal(DetectionPack.Names.Order(), rules.Select(rule => rule.Name).Where(name => name != "mfa_fatigue_accepted").Order());
        Assert.Equal(rules.Count, rules.Select(rule => rule.Id).Distinct().Count());
    }

    [Fact]
    public void The_runbooks_are_in_the_document()
    {
        var document = File.ReadAllText(Path.Combine(Testing.RepositoryFolder.Path, "docs", "detections.md"));

        Assert.All(DetectionPack.Rules(Defaults, Noon), rule => Assert.Contains($"**`{rule.Name}`.** {rule.Description} {rule.Annotations["runbook"]}", document, StringComparison.Ordinal));
        Assert.All(DetectionPack.Rules(Defaults, Noon), rule => Assert.Contains($"| {rule.Labels["mitre_attack"]} |", document, StringComparison.Ordinal));
    }

    [Fact]
    public void Detections_are_rules_that_the_API_would_take()
    {
        foreach (var rule in DetectionPack.Rules(new DetectionOptions { ChangeWindows = "saturday" }, Noon))
        {
            var body = JsonSerializer.Deserialize<RuleBody>(JsonSerializer.Serialize(rule, WireJson.Options), WireJson.Options)!;

            var (same, errors) = body.Check(rule.Id, rule.Realm, rule.CreatedBy, Noon);

            Assert.Empty(errors);
            Assert.False(same!.CountsDifferently(rule), rule.Name);
        }
    }

    [Fact]
    public void Detections_that_are_switched_off_are_off()
    {
        var rules = DetectionPack.Rules(new DetectionOptions { Disabled = ["mfa_fatigue", "brute_force"] }, Noon);

        Assert.Equal(["brute_force", "mfa_fatigue", "mfa_fatigue_accepted"], rules.Where(rule => !rule.Enabled).Select(rule => rule.Name).Order(StringComparer.Ordinal));
        Assert.DoesNotContain(DetectionPack.Rules(new DetectionOptions { Enabled = false }, Noon), rule => rule.Enabled);
        Assert.Single(new DetectionOptions { Disabled = ["brute_farce"] }.Validate(new(this)));
        Assert.Single(new DetectionOptions { ChangeWindows = "monday:friday; 25:00-26:00" }.Validate(new(this)));
    }

    [Fact]
    public void The_same_events_in_any_order_and_in_any_batches_fire_the_same()
    {
        TestEvent[] all = [.. Attacks.Values.SelectMany(attack => attack())];
        var expected = Fired(all).Select(one => one.Rule.Name).Distinct().Order(StringComparer.Ordinal).ToList();
        Assert.Equal(15, expected.Count);

        foreach (var size in (int[])[1, 7, 1000])
        {
            var sorted = all.OrderBy(one => one.At).Chunk(size);
            Assert.Equal(expected, Fired(sorted, Defaults).Select(one => one.Rule.Name).Distinct().Order(StringComparer.Ordinal));
        }

        Assert.Equal(expected, Fired([.. all.OrderByDescending(one => one.At)]).Select(one => one.Rule.Name).Distinct().Order(StringComparer.Ordinal));
    }

    private static readonly Dictionary<string, Func<TestEvent[]>> Attacks = new()
    {
        ["brute_force"] = () => Every(10, 33, i => Login(i, "failure", "anna", "203.0.113.9")),
        ["many_addresses"] = () => Every(10, 199, i => Login(i, i % 2 == 0 ? "failure" : "denied", "anna", $"203.0.113.{i / 199 % 5}")),
        ["credential_stuffing"] = () => Every(25, 37, i => Login(i, "failure", $"user-{i / 37 % 15}", "203.0.113.9")),
        ["password_spray"] = () => Every(15, 21, i => Login(i, "failure", $"user-{i}", "203.0.113.9")),
        ["distributed_spray"] = () => Every(25, 37, i => Login(i, "failure", $"user-{i / 37 % 8}", $"203.0.113.{i / 37 % 5}")),
        ["mfa_fatigue"] = () => Every(5, 149, i => Mfa(i, "denied", "anna")),
        ["mfa_fatigue_accepted"] = () => [.. Every(5, 149, i => Mfa(i, "denied", "anna")), Mfa(4 * 149 + 599, "success", "anna")],
        ["totp_guessing"] = () => Every(20, 28, i => Mfa(i, "failure", "anna", session: $"session-{i / 28 % 10}")),
        // Berlin to Paris, 878 km, in 65 minutes.
        ["impossible_travel"] = () => [Place(0, "anna", 52.52, 13.405), Place(65 * 60, "anna", 48.857, 2.352)],
        ["lockout_storm"] = () => Every(30, 62, i => Login(i, "denied", $"user-{i / 62 % 25}", $"203.0.113.{i / 62}", ("reason", "account_locked"))),
        ["mfa_reset"] = () => [Act(0, "mfa_reset", "helpdesk", ("target_user_id", "anna")), Login(12 * 3600 - 1, "success", "anna", "203.0.113.9")],
        ["signup_flood"] = () => [.. Enumerable.Range(0, 50).Select(i => Act(i, "register", $"new-{i}", ("ip_address", "203.0.113.9")))],
        ["privilege_escalation"] = () => [Act(0, "role_assign", "admin", ("target_user_id", "anna")), Act(599, "data_export", "anna")],
        ["token_revocation"] = () => Every(20, 15, i => Act(i, "token_revoke", $"user-{i}")),
        ["configuration_drift"] = () => [Act(0, "config_change", "admin", ("setting", "session-hours"))],
    };

    private static readonly Dictionary<string, Func<TestEvent[]>> LittleLess = new()
    {
        // One failure less; and as many over more time, or by two users.
        ["brute_force"] = () => [.. Every(9, 10, i => Login(i, "failure", "anna", "203.0.113.9")), .. Every(30, 34, i => Login(i, "failure", "bert", "203.0.113.8")), .. Every(18, 16, i => Login(i, "failure", $"user-{i % 32}", "203.0.113.7"))],
        // A traveller whose telephone changes networks: four addresses, and nine tries from nine.
        ["many_addresses"] = () => [.. Every(20, 89, i => Login(i, "failure", "anna", $"203.0.113.{i % 4}")), .. Every(9, 10, i => Login(i, "failure", "bert", $"203.0.113.{i}"))],
        // A school behind one address: 14 users twice, and 15 users three times each.
        ["credential_stuffing"] = () => [.. Every(28, 30, i => Login(i, "failure", $"user-{i / 30 % 14}", "203.0.113.9")), .. Every(45, 19, i => Login(i, "failure", $"user-{i / 19 / 3}", "203.0.113.8"))],
        ["password_spray"] = () => [.. Every(14, 5, i => Login(i, "failure", $"user-{i}", "203.0.113.9")), .. Every(60, 22, i => Login(i, "failure", $"user-{i}", "203.0.113.8"))],
        // Seven users; 24 tries; four addresses; eight users of whom one is tried so often that the others are too few.
        ["distributed_spray"] = () => [.. Every(35, 20, i => Login(i, "failure", $"user-{i / 20 % 7}", $"203.0.113.{i / 20 % 5}", ("n", 1))), .. LaterBy(3600, Every(24, 20, i => Login(i, "failure", $"user-{i / 20 % 8}", $"203.0.113.{i / 20 % 5}"))), .. LaterBy(7200, Every(40, 20, i => Login(i, "failure", $"user-{i / 20 % 8}", $"203.0.113.{i / 20 % 4}"))), .. LaterBy(10_800, Every(42, 15, i => Login(i, "failure", $"user-{Math.Max(0, i / 15 - 6) % 6}", $"203.0.113.{i / 15 % 5}")))],
        ["mfa_fatigue"] = () => [.. Every(4, 10, i => Mfa(i, "denied", "anna")), .. Every(20, 151, i => Mfa(i, "denied", "bert"))],
        ["mfa_fatigue_accepted"] = () => [.. Every(4, 10, i => Mfa(i, "denied", "anna")), Mfa(60, "success", "anna"), .. Every(5, 10, i => Mfa(i, "denied", "bert")), Mfa(40 + 600, "success", "bert"), Mfa(-1, "success", "bert")],
        // One session in which a code was mistyped very often; 19 failures; 9 sessions.
        ["totp_guessing"] = () => [.. Every(40, 5, i => Mfa(i, "failure", "anna", session: "one")), .. Every(19, 5, i => Mfa(i, "failure", "bert", session: $"session-{i}")), .. Every(36, 5, i => Mfa(i, "failure", "carl", session: $"session-{i % 9}"))],
        // A train (Berlin to Hamburg in an hour), a flight (Berlin to Paris in 70 minutes), a telephone that is located in the next town.
        ["impossible_travel"] = () => [Place(0, "anna", 52.52, 13.405), Place(3600, "anna", 53.55, 9.993), Place(0, "bert", 52.52, 13.405), Place(70 * 60, "bert", 48.857, 2.352), Place(0, "carl", 52.52, 13.405), Place(1, "carl", 52.40, 13.06), Login(2, "success", "carl", "203.0.113.9")],
        ["lockout_storm"] = () => [.. Every(48, 37, i => Login(i, "denied", $"user-{i / 37 % 24}", $"203.0.113.{i / 37}", ("reason", "account_locked"))), .. LaterBy(7200, Every(29, 20, i => Login(i, "denied", $"user-{i}", $"203.0.113.{i / 20}", ("reason", "account_locked"))))],
        // The login of somebody else, one twelve hours later, one before the reset, and a second factor that is added.
        ["mfa_reset"] = () => [Login(-60, "success", "anna", "203.0.113.9"), Act(0, "mfa_reset", "helpdesk", ("target_user_id", "anna")), Login(60, "success", "helpdesk", "203.0.113.9"), Login(12 * 3600, "success", "anna", "203.0.113.9"), Act(0, "mfa_enroll", "bert"), Login(60, "success", "bert", "203.0.113.9")],
        ["signup_flood"] = () => [.. Enumerable.Range(0, 49).Select(i => Act(i, "register", $"new-{i}", ("ip_address", "203.0.113.9"))), .. Enumerable.Range(0, 60).Select(i => Act(2 * i, "register", $"new-{i}", ("ip_address", "203.0.113.8")))],
        // Ten minutes later; somebody else; the administrator who gave the role goes on with the day's work; a role that was not given.
        ["privilege_escalation"] = () => [Act(0, "role_assign", "admin", ("target_user_id", "anna")), Act(600, "data_export", "anna"), Act(30, "data_export", "bert"), Act(60, "role_assign", "admin", ("target_user_id", "carl")), Act(-60, "data_access", "carl")],
        ["token_revocation"] = () => [.. Every(19, 15, i => Act(i, "token_revoke", $"user-{i}")), .. LaterBy(3600, Every(60, 16, i => Act(i, "token_revoke", $"user-{i}")))],
        ["configuration_drift"] = () => [Act(0, "config_drift", "nobody", ("setting", "session-hours"))],
    };

    private static TestEvent Login(int second, string outcome, string user, string address, params (string, object)[] more) =>
        Event(second, [("action", "login"), ("outcome", outcome), ("user_id", user), ("ip_address", address), .. more]);

    private static TestEvent Place(int second, string user, double latitude, double longitude, string address = "198.51.100.7") =>
        Login(second, "success", user, address, ("latitude", latitude), ("longitude", longitude));

    private static TestEvent Mfa(int second, string outcome, string user, string session = "session") =>
        Event(second, [("action", "mfa_verify"), ("outcome", outcome), ("mfa_method", "totp"), ("user_id", user), ("session_id", session)]);

    private static TestEvent Act(int second, string action, string user, params (string, object)[] more) =>
        Event(second, [("action", action), ("outcome", "success"), ("user_id", user), .. more]);

    private static TestEvent Event(int second, (string Name, object Value)[] tags) => new(Noon.AddSeconds(second), Tags: tags);

    private static TestEvent[] Every(int count, int seconds, Func<int, TestEvent> make) => [.. Enumerable.Range(0, count).Select(i => make(i * seconds))];

    private static TestEvent[] LaterBy(int seconds, TestEvent[] events) => [.. events.Select(one => one with { At = one.At.AddSeconds(seconds) })];

    private static List<ReplayedEpisode> Fired(TestEvent[] events, DetectionOptions? options = null) => Fired([events], options ?? Defaults);

    private static List<ReplayedEpisode> Fired(IEnumerable<TestEvent[]> batches, DetectionOptions options) =>
        Replayed(batches, DetectionPack.Rules(options, Noon));

    private static List<ReplayedEpisode> Replayed(TestEvent[] events, DetectionOptions options) => Replayed([events], DefaultRules.At(options, Noon));

    private static List<ReplayedEpisode> Replayed(IEnumerable<TestEvent[]> batches, IReadOnlyList<Rule> rules)
    {
        var replay = new Replay(new RuleIndex(1, [.. rules]), new WindowOptions { Lateness = TimeSpan.FromDays(1) }, groups: 10_000);
        foreach (var batch in batches)
        {
            replay.Take(JsonSerializer.Deserialize<EventsStored>(TestEvent.Batch(batch))!.Events);
        }

        return [.. replay.Episodes(DateTimeOffset.MaxValue.AddYears(-1))];
    }
}
