using System.Net;
using System.Text.Json;
using Platform.Alerting.RuleGroups;
using Platform.Postgres;
using Platform.Testing;

namespace Platform.Alerting.Tests.RuleGroups;

/// <summary>Rule groups as people and tools meet them: with real services, samples and webhooks.</summary>
public sealed class RuleGroupsTests(RulesWorld world) : IClassFixture<RulesWorld>
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_rule_fires_on_its_interval_tells_people_writes_its_series_and_resolves()
    {
        await world.SampleAsync("queue_length", 12, ("queue", "mail"));
        await world.ImportAsync("""
            groups:
              - name: queues
                interval: 1s
                labels: {team: mail}
                rules:
                  - record: queue:length:max
                    expr: max by (queue) (queue_length)
                  - alert: QueueLong
                    expr: queue:length:max > 10
                    for: 1s
                    labels: {severity: warning}
                    annotations: {summary: '{{ $labels.queue }} has {{ $value }}', all: '{{ range query "queue_length" }}{{ .Value }}{{ end }}'}
            """);

        var fired = (await world.Receiver.WaitAsync("QueueLong", 1))[0];
        var series = await Eventually.GetAsync(async () => await world.QueryAsync("ALERTS{alertname=\"QueueLong\",alertstate=\"firing\"}") is { Count: 1 } found ? found : null);
        var since = await world.QueryAsync("ALERTS_FOR_STATE{alertname=\"QueueLong\"}");
        var group = (await world.RulesAsync("?rule_group[]=queues"))[0];
        await world.SampleAsync("queue_length", 3, ("queue", "mail"));
        var resolved = (await world.Receiver.WaitAsync("QueueLong", 2))[1];

        Assert.Equal(("firing", "resolved"), (fired.Status, resolved.Status));
        Assert.Equal(("warning", "mail", "mail", "default"), (fired.Label("severity"), fired.Label("queue"), fired.Label("team"), fired.Label("realm")));
        Assert.Equal("mail has 12", fired.Body.GetProperty("alerts")[0].GetProperty("annotations").GetProperty("summary").GetString());
        Assert.Equal("12", fired.Body.GetProperty("alerts")[0].GetProperty("annotations").GetProperty("all").GetString());
        Assert.Equal(fired.Fingerprint, resolved.Fingerprint);
        Assert.Equal("mail", series[0].Labels.GetProperty("team").GetString());
        Assert.Single(since);
        var alert = Assert.Single(await world.AlertsAsync("QueueLong"));
        Assert.Equal(("query", "medium", 12.0, 10.0), (alert.GetProperty("source").GetString(), alert.GetProperty("severity").GetString(), alert.GetProperty("value").GetDouble(), alert.GetProperty("threshold").GetDouble()));
        var rules = group.GetProperty("rules");
        Assert.Equal(("recording", "ok"), (rules[0].GetProperty("type").GetString(), rules[0].GetProperty("health").GetString()));
        Assert.Equal(("alerting", "firing", 1.0), (rules[1].GetProperty("type").GetString(), rules[1].GetProperty("state").GetString(), rules[1].GetProperty("duration").GetDouble()));
        Assert.Equal(("1.2e+01", "firing"), (rules[1].GetProperty("alerts")[0].GetProperty("value").GetString(), rules[1].GetProperty("alerts")[0].GetProperty("state").GetString()));
        // The series end with the alert, not five minutes later.
        await Eventually.TrueAsync(async () => (await world.QueryAsync("{__name__=~\"ALERTS|ALERTS_FOR_STATE\",alertname=\"QueueLong\"}")).Count == 0, because: "ALERTS has ended");
    }

    [Fact]
    public async Task A_critical_rule_waits_for_no_interval()
    {
        await world.SampleAsync("reactor_temperature", 20, ("core", "1"));
        await world.ImportAsync("""
            groups:
              - name: reactors
                interval: 1d
                rules:
                  - alert: ReactorHot
                    expr: reactor_temperature{core="1"} > 100
                    labels: {severity: critical}
                  - alert: ReactorWarm
                    expr: reactor_temperature{core="1"} > 100
                    labels: {severity: warning}
            """);
        await Eventually.TrueAsync(async () => (await world.RulesAsync("?rule_group[]=reactors")).Any(group => group.GetProperty("rules")[0].GetProperty("health").GetString() == "ok"), because: "the group was evaluated");

        // A first stream may still be opening: a sample every now and then, as a scrape would bring them.
        await Eventually.TrueAsync(async () =>
        {
            await world.SampleAsync("reactor_temperature", 120, ("core", "1"));
            return world.Receiver.Of("ReactorHot").Count > 0;
        }, because: "the alert came with the data");
        await world.SampleAsync("reactor_temperature", 50, ("core", "1"));
        var told = await world.Receiver.WaitAsync("ReactorHot", 2);

        Assert.Equal(["firing", "resolved"], told.Select(one => one.Status));
        Assert.Empty(world.Receiver.Of("ReactorWarm"));
    }

    [Fact]
    public async Task Rules_see_and_show_their_own_realm_only()
    {
        await world.SampleAsync("north", "secret_value", 7, ("of", "north"));
        await world.ImportAsync("groups: [{name: spy, interval: 1s, rules: [{alert: Spy, expr: secret_value > 0}, {alert: Own, expr: vector(1)}]}]", realm: "south");
        await world.ImportAsync("groups: [{name: everybody, interval: 1s, rules: [{alert: OfAll, expr: secret_value > 0}]}]", realm: "*");

        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Own", "south")).Count == 1, because: "the group was evaluated");
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("OfAll", "north")).Count == 1, because: "a rule of all realms made an alert of the realm of the series");

        Assert.Empty(await world.AlertsAsync("Spy", "south"));
        var south = await world.RulesAsync(realm: "south");
        Assert.Equal(["everybody", "spy"], south.Select(group => group.GetProperty("name").GetString()).Order());
        Assert.Empty(south.Single(group => group.GetProperty("name").GetString() == "everybody").GetProperty("rules")[0].GetProperty("alerts").EnumerateArray());
        Assert.DoesNotContain(await world.RulesAsync(realm: "north"), group => group.GetProperty("name").GetString() == "spy");
        await world.ImportAsync("groups: [{name: grab, rules: [{alert: X, expr: vector(1), labels: {realm: north}}]}]", HttpStatusCode.BadRequest, "south");
    }

    [Fact]
    public async Task Rules_are_filtered_before_they_are_paged_and_say_that_they_fire_also_without_their_alerts()
    {
        const string own = "rule_group[]=sift-1&rule_group[]=sift-2&rule_group[]=sift-3";
        await world.ImportAsync("""
            groups:
              - {name: sift-1, interval: 1s, rules: [{alert: SiftOne, expr: vector(1), labels: {team: a}}, {record: sift:one, expr: vector(1)}]}
              - {name: sift-2, interval: 1s, rules: [{alert: SiftTwo, expr: vector(1)}]}
              - {name: sift-3, interval: 1s, rules: [{record: sift:three, expr: vector(1)}]}
            """, realm: "sift");
        Task<JsonElement> AskAsync(string more, HttpStatusCode expected = HttpStatusCode.OK) =>
            world.SendAsync(HttpMethod.Get, $"prometheus/api/v1/rules?{own}{more}", expected: expected, realm: "sift");
        async Task<string> NamesAsync(string more) => string.Join(' ', (await AskAsync(more)).GetProperty("data").GetProperty("groups").EnumerateArray()
            .Select(group => $"{group.GetProperty("name").GetString()}:{string.Join(',', group.GetProperty("rules").EnumerateArray().Select(rule => rule.GetProperty("name").GetString()))}"));
        await Eventually.TrueAsync(
            async () => (await AskAsync("&rule_name[]=SiftOne")).GetProperty("data").GetProperty("groups")[0].GetProperty("rules")[0].GetProperty("state").GetString() == "firing", because: "the rule fires");

        foreach (var yes in (string[])["true", "1", "t", "T", "True"])
        {
            var rule = (await AskAsync($"&exclude_alerts={yes}&rule_name[]=SiftOne")).GetProperty("data").GetProperty("groups")[0].GetProperty("rules")[0];
            Assert.Equal(("firing", false), (rule.GetProperty("state").GetString(), rule.TryGetProperty("alerts", out _)));
        }

        Assert.Equal("sift-1:SiftOne,sift:one sift-2:SiftTwo sift-3:sift:three", await NamesAsync(""));
        Assert.Equal("sift-2:SiftTwo", await NamesAsync("&rule_name[]=SiftTwo"));
        Assert.Equal("sift-1:SiftOne", await NamesAsync($"&match[]={Uri.EscapeDataString("{team=\"a\"}")}"));
        Assert.Equal("sift-1:SiftOne sift-2:SiftTwo", await NamesAsync("&type=alert&exclude_alerts=f"));
        Assert.Equal("", await NamesAsync("&file[]=other.yml"));
        Assert.Equal("sift-3:sift:three", await NamesAsync("&file[]=api&rule_name[]=sift:three"));

        var first = (await AskAsync("&type=record&group_limit=1")).GetProperty("data");
        var token = first.GetProperty("groupNextToken").GetString();
        var second = (await AskAsync($"&type=record&group_limit=1&group_next_token={token}")).GetProperty("data");
        Assert.Equal(("sift-1", "sift-3"), (Assert.Single(first.GetProperty("groups").EnumerateArray()).GetProperty("name").GetString(), Assert.Single(second.GetProperty("groups").EnumerateArray()).GetProperty("name").GetString()));
        Assert.False(second.TryGetProperty("groupNextToken", out _));

        foreach (var wrong in (string[])["&exclude_alerts=yes", "&group_limit=0", "&group_limit=x", $"&group_next_token={token}", "&group_limit=1&group_next_token=x", "&type=x", "&match[]={"])
        {
            Assert.Equal("bad_data", (await AskAsync(wrong, HttpStatusCode.BadRequest)).GetProperty("errorType").GetString());
        }
    }

    private sealed record Found(JsonElement Json);

    [Fact]
    public async Task A_rule_of_seed_003_is_one_more_in_the_group_api()
    {
        await world.SampleAsync("cpu_usage", 91);

        var made = (await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/alerts", RulesWorld.Json(new { name = "High CPU Usage", description = "CPU usage above 80%", query = "cpu_usage > 80", threshold_value = 80.0 }), HttpStatusCode.Created)).GetProperty("data");
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules", RulesWorld.Json(new { name = "Second", query = "cpu_usage", threshold_value = 95, severity = "critical" }), HttpStatusCode.Created);
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules", RulesWorld.Json(new { name = "Second", query = "cpu_usage" }), HttpStatusCode.Conflict);
        var wrong = await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules", RulesWorld.Json(new { name = "Third", query = "cpu_usage >" }), HttpStatusCode.BadRequest);
        var fired = (await world.Receiver.WaitAsync("High CPU Usage", 1))[0];

        Assert.Equal(("cpu_usage > 80", 80.0, "api"), (made.GetProperty("query").GetString(), made.GetProperty("threshold_value").GetDouble(), made.GetProperty("group").GetString()));
        Assert.Equal("1:12: parse error: unexpected end of input", wrong.GetProperty("errors").GetProperty("query")[0].GetString());
        Assert.Equal("CPU usage above 80%", fired.Body.GetProperty("alerts")[0].GetProperty("annotations").GetProperty("description").GetString());
        var group = (await world.RulesAsync("?rule_group[]=api"))[0];
        Assert.Equal(["cpu_usage > 80", "(cpu_usage) > 95"], group.GetProperty("rules").EnumerateArray().Select(rule => rule.GetProperty("query").GetString()));
    }

    [Fact]
    public async Task A_rule_with_a_query_is_read_changed_and_deleted_where_it_was_made()
    {
        const string rules = "api/v1/monitoring/rules";
        await world.ImportAsync("groups: [{name: api, interval: 1s, rules: [{alert: KeptAsItIs, expr: vector(1), labels: {team: a, severity: low}, annotations: {summary: s}, keep_firing_for: 1m}]}]", realm: "simple");
        Task<JsonElement> SendAsync(HttpMethod method, string path, object? body = null, HttpStatusCode expected = HttpStatusCode.OK, string realm = "simple") =>
            world.SendAsync(method, path, body is null ? null : RulesWorld.Json(body), expected, realm);
        var made = (await SendAsync(HttpMethod.Post, rules, new { name = "SimpleOne", description = "d", query = "vector(5)", threshold_value = 3, severity = "high" }, HttpStatusCode.Created)).GetProperty("data");
        var path = $"{rules}/{made.GetProperty("id").GetGuid()}";
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("SimpleOne", "simple")) is [var one] && one.GetProperty("state").GetString() == "firing", because: "it fires");

        var read = (await SendAsync(HttpMethod.Get, path)).GetProperty("data");
        Assert.Equal(made.ToString(), read.ToString());
        await SendAsync(HttpMethod.Get, path, expected: HttpStatusCode.Forbidden, realm: "other");
        await SendAsync(HttpMethod.Get, $"{rules}/{Guid.NewGuid()}", expected: HttpStatusCode.NotFound);

        await SendAsync(HttpMethod.Put, path, new { name = "SimpleOne", query = "vector(5)", version = 1 }, HttpStatusCode.Conflict);
        await SendAsync(HttpMethod.Put, path, new { name = "KeptAsItIs", query = "vector(5)" }, HttpStatusCode.Conflict);
        var wrong = await SendAsync(HttpMethod.Put, path, new { name = "SimpleOne", query = "vector(5", threshold_value = 3 }, HttpStatusCode.BadRequest);
        Assert.Equal(["query"], wrong.GetProperty("errors").EnumerateObject().Select(error => error.Name));
        await SendAsync(HttpMethod.Put, path, new { name = "SimpleOne", match = new { source = "x" }, threshold = 1, window_seconds = 1, severity = "low" }, HttpStatusCode.BadRequest);
        var changed = (await SendAsync(HttpMethod.Put, path, new { name = "SimpleTwo", query = "vector(6)", threshold_value = 4, version = read.GetProperty("version").GetInt32() })).GetProperty("data");
        Assert.Equal((made.GetProperty("id").GetGuid(), "(vector(6)) > 4", "medium", ""), (
            changed.GetProperty("id").GetGuid(), changed.GetProperty("query").GetString(), changed.GetProperty("severity").GetString(), changed.GetProperty("description").GetString()));
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("SimpleTwo", "simple")) is [var two] && two.GetProperty("state").GetString() == "firing", because: "it fires under its new name");
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("SimpleOne", "simple")) is [var one] && one.GetProperty("state").GetString() == "resolved", because: "the alert of its former name ends");

        var kept = (await SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups?name=api")).GetProperty("data").GetProperty("items")[0].GetProperty("rules")[0];
        var other = kept.GetProperty("id").GetGuid();
        await SendAsync(HttpMethod.Put, $"{rules}/{other}", new { name = "KeptAsItIs", query = "vector(2)", severity = "low" });
        var after = (await SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups?name=api")).GetProperty("data").GetProperty("items")[0].GetProperty("rules")[0];
        Assert.Equal(("vector(2)", "a", "s", "1m"), (
            after.GetProperty("expr").GetString(), after.GetProperty("labels").GetProperty("team").GetString(), after.GetProperty("annotations").GetProperty("summary").GetString(), after.GetProperty("keep_firing_for").GetString()));

        await SendAsync(HttpMethod.Delete, path, expected: HttpStatusCode.NoContent);
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("SimpleTwo", "simple"))[0].GetProperty("state").GetString() == "resolved", because: "its alert ends with it");
        await SendAsync(HttpMethod.Delete, path, expected: HttpStatusCode.NotFound);
        await SendAsync(HttpMethod.Delete, $"{rules}/{other}", expected: HttpStatusCode.NoContent);
        Assert.DoesNotContain((await SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups?name=api")).GetProperty("data").GetProperty("items").EnumerateArray(), group => group.GetProperty("realm").GetString() == "simple");
    }

    [Fact]
    public async Task Groups_are_made_read_changed_and_deleted_and_their_alerts_go_with_them()
    {
        const string path = "api/v1/monitoring/rule-groups";
        var made = (await world.SendAsync(HttpMethod.Post, path, RulesWorld.Json(new { name = "crud", interval = "1s", rules = new object[] { new { alert = "CrudOne", expr = "vector(1)" }, new { alert = "CrudTwo", expr = "vector(2)", no_data = "alert" } } }), HttpStatusCode.Created)).GetProperty("data");
        var id = made.GetProperty("id").GetGuid();
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("CrudOne")).Count == 1 && (await world.AlertsAsync("CrudTwo")).Count == 1, because: "both fire");

        var yaml = await world.TextAsync($"{path}?format=yaml&name=crud");
        await world.SendAsync(HttpMethod.Post, path, RulesWorld.Json(new { name = "crud", rules = new[] { new { alert = "X", expr = "up" } } }), HttpStatusCode.Conflict);
        var shown = (await world.SendAsync(HttpMethod.Get, $"{path}/{id}")).GetProperty("data");
        Assert.Equal(2, (await world.SendAsync(HttpMethod.Put, $"{path}/{id}", RulesWorld.Json(shown))).GetProperty("data").GetProperty("version").GetInt32());
        await world.SendAsync(HttpMethod.Put, $"{path}/{id}", RulesWorld.Json(new { name = "crud", version = 7, rules = new[] { new { alert = "CrudOne", expr = "vector(1)" } } }), HttpStatusCode.Conflict);
        await world.SendAsync(HttpMethod.Put, $"{path}/{id}", RulesWorld.Json(new { name = "crud", version = 2, interval = "1s", rules = new[] { new { alert = "CrudOne", expr = "vector(1)" } } }));
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("CrudTwo"))[0].GetProperty("state").GetString() == "resolved", because: "the alert of a rule that is gone resolves");
        Assert.Equal("firing", (await world.AlertsAsync("CrudOne"))[0].GetProperty("state").GetString());
        await world.SendAsync(HttpMethod.Get, $"{path}/{id}", realm: "other", expected: HttpStatusCode.Forbidden);
        await world.SendAsync(HttpMethod.Delete, $"{path}/{id}", expected: HttpStatusCode.NoContent);
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("CrudOne"))[0].GetProperty("state").GetString() == "resolved", because: "with the group, its alerts end");
        await world.SendAsync(HttpMethod.Get, $"{path}/{id}", expected: HttpStatusCode.NotFound);

        Assert.Contains("platform_no_data: alert", yaml, StringComparison.Ordinal);
        Assert.Equal(0, await world.CountAsync($"select count(*) from rule_alerts where group_id = {id}"));
    }

    [Theory]
    [InlineData("""{"name":"bad","rules":[{"alert":"X","expr":"up{"}]}""", "rules[0].expr")]
    [InlineData("""{"name":"bad","rules":[]}""", "rules")]
    [InlineData("""{"name":"bad","rules":[{"alert":"X","expr":"up","labels":{"1x":"y"}}]}""", "rules[0].labels.1x")]
    public async Task What_is_wrong_with_a_group_is_named(string body, string field)
    {
        var answer = await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rule-groups", new StringContent(body, System.Text.Encoding.UTF8, "application/json"), HttpStatusCode.BadRequest);

        Assert.Contains(answer.GetProperty("errors").EnumerateObject(), error => error.Name == field);
    }

    [Theory]
    [InlineData("""{"nam":"bad","rules":[{"alert":"X","expr":"up"}]}""", "the field \"nam\" is not known here.")]
    [InlineData("""{"name":"bad","rules":[{"alert":"X","expr":7}]}""", "Reading stopped in $.rules[0].expr")]
    [InlineData("""{"name":"bad","name":"worse","rules":[{"alert":"X","expr":"up"}]}""", "name")]
    [InlineData("[]", "a group is an object.")]
    [InlineData("", "Reading stopped")]
    public async Task A_group_that_cannot_be_read_is_answered_in_words_of_its_sender(string body, string detail)
    {
        var answer = await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rule-groups", new StringContent(body, System.Text.Encoding.UTF8, "application/json"), HttpStatusCode.BadRequest);

        Assert.Contains(detail, answer.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rule_file_is_followed_and_a_broken_one_leaves_what_it_said()
    {
        var file = Path.Combine(world.RuleFolder, "followed.yml");
        await WriteAsync("groups: [{name: followed, interval: 1s, rules: [{alert: Followed, expr: vector(1)}]}]");
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Followed", "*")) is [var one] && one.GetProperty("state").GetString() == "firing", because: "the rule of the file fires");

        await WriteAsync("groups: [{name: followed, rulez: []}]");
        var broken = await Eventually.GetAsync(async () => (await world.SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups", realm: "*")).GetProperty("data").GetProperty("files").EnumerateArray()
            .FirstOrDefault(one => one.GetProperty("error").ValueKind == JsonValueKind.String) is { ValueKind: JsonValueKind.Object } found ? new Found(found) : null);
        Assert.Empty((await world.SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups")).GetProperty("data").GetProperty("files").EnumerateArray());
        var stays = (await world.AlertsAsync("Followed", "*"))[0].GetProperty("state").GetString();
        var group = (await world.SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups?name=followed", realm: "*")).GetProperty("data").GetProperty("items")[0].GetProperty("id").GetGuid();
        await world.SendAsync(HttpMethod.Delete, $"api/v1/monitoring/rule-groups/{group}", expected: HttpStatusCode.Conflict, realm: "*");
        File.Delete(file);
        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Followed", "*"))[0].GetProperty("state").GetString() == "resolved", because: "a file that is gone takes its groups with it");

        Assert.Equal("firing", stays);
        Assert.Contains("line 1, group \"followed\": the key \"rulez\" is not known here.", broken.Json.GetProperty("error").GetString(), StringComparison.Ordinal);

        // Whole or not at all: half a file, or an empty one, would say something else.
        async Task WriteAsync(string text)
        {
            await File.WriteAllTextAsync(file + ".new", text, Ct);
            File.Move(file + ".new", file, overwrite: true);
        }
    }

    [Fact]
    public async Task A_rule_that_cannot_be_evaluated_says_so_and_harms_no_other()
    {
        await world.EarlierAsync("doubled", 1, ("a", "1"));
        await world.EarlierAsync("doubled", 1, ("a", "2"));
        await world.ImportAsync("""
            groups:
              - name: faulty
                interval: 1s
                limit: 1
                rules:
                  - alert: ManyToMany
                    expr: doubled * on () doubled
                    annotations: {platform_on_error: alert}
                  - alert: TooMany
                    expr: doubled
                  - alert: Fine
                    expr: vector(1)
                  - alert: NoSuchThing
                    expr: never_there > 1
                    annotations: {platform_no_data: alert}
            """);

        await Eventually.TrueAsync(async () => (await world.AlertsAsync("Fine")).Count == 1 && (await world.AlertsAsync("NoSuchThing")).Count == 1 && (await world.AlertsAsync("ManyToMany")).Count == 1,
            because: "the others are evaluated");
        var rules = (await world.RulesAsync("?rule_group[]=faulty"))[0].GetProperty("rules");

        Assert.Equal(["err", "err", "ok", "ok"], rules.EnumerateArray().Select(rule => rule.GetProperty("health").GetString()));
        Assert.Contains("found duplicate series", rules[0].GetProperty("lastError").GetString(), StringComparison.Ordinal);
        Assert.Equal("exceeded limit of 1 with 2 alerts", rules[1].GetProperty("lastError").GetString());
        Assert.Equal("error", (await world.AlertsAsync("ManyToMany"))[0].GetProperty("labels").GetProperty("reason").GetString());
        Assert.Equal("no_data", (await world.AlertsAsync("NoSuchThing"))[0].GetProperty("labels").GetProperty("reason").GetString());
        Assert.Empty(await world.AlertsAsync("TooMany"));
    }

    [Fact]
    public async Task The_error_of_a_rule_over_all_realms_is_for_callers_of_all_realms()
    {
        await world.SampleAsync("tenant-a", "secretive", 1, ("customer", "first"));
        await world.SampleAsync("tenant-a", "secretive", 1, ("customer", "second"));
        var groups = (await world.ImportAsync("""
            groups:
              - name: failing over all realms
                interval: 1s
                rules:
                  - {alert: Secretive, expr: secretive * on () secretive}
                  - {record: secretive_product, expr: secretive * on () secretive}
                  - {alert: NotSecretive, expr: vector(0) > 0}
            """, realm: "*")).GetProperty("data").GetProperty("items");
        var id = groups[0].GetProperty("id").GetGuid();
        await Eventually.TrueAsync(async () => (await ErrorsAsync("*")) is [{ } said, { }] && said.Contains("customer", StringComparison.Ordinal), because: "the rules have failed");

        var (all, one) = (await ErrorsAsync("*"), await ErrorsAsync("default"));
        var (group, item) = (await GroupAsync($"/{id}"), (await GroupAsync("?name=failing over all realms")).GetProperty("items")[0]);
        var states = (await RulesAsync("default")).Select(rule => rule.GetProperty("health").GetString());

        Assert.All(all, error => Assert.Contains("found duplicate series", error, StringComparison.Ordinal));
        Assert.Equal(["err", "err", "ok"], states);
        Assert.All([.. one, .. Words(group), .. Words(item)], error => Assert.EndsWith("it is shown to callers of all realms.", error, StringComparison.Ordinal));
        Assert.Equal((2, 2, 2), (one.Count, Words(group).Count, Words(item).Count));
        Assert.All(Words((await world.SendAsync(HttpMethod.Get, $"api/v1/monitoring/rule-groups/{id}", realm: "*")).GetProperty("data")), error => Assert.Contains("customer", error, StringComparison.Ordinal));
        // A credential of all realms that names one is answered as one of that realm.
        Assert.DoesNotContain("customer", $"{await world.SendAsync(HttpMethod.Get, "api/v1/monitoring/rule-groups?realm=default", realm: "*")}", StringComparison.Ordinal);
        // Other tests look at all groups that they see.
        await world.SendAsync(HttpMethod.Delete, $"api/v1/monitoring/rule-groups/{id}", expected: HttpStatusCode.NoContent, realm: "*");

        async Task<IReadOnlyList<JsonElement>> RulesAsync(string realm) =>
            [.. (await world.RulesAsync("?rule_group[]=failing over all realms", realm))[0].GetProperty("rules").EnumerateArray()];

        async Task<IReadOnlyList<string>> ErrorsAsync(string realm) =>
            [.. (await RulesAsync(realm)).Where(rule => rule.TryGetProperty("lastError", out _)).Select(rule => rule.GetProperty("lastError").GetString()!)];

        async Task<JsonElement> GroupAsync(string path) => (await world.SendAsync(HttpMethod.Get, $"api/v1/monitoring/rule-groups{path}")).GetProperty("data");

        static List<string> Words(JsonElement group) => [.. group.GetProperty("errors").EnumerateObject().Select(error => error.Value.GetString()!)];
    }

    [Fact]
    public async Task A_group_whose_writes_fail_is_evaluated_alone_says_so_and_harms_no_other()
    {
        // Stands for whatever a database may refuse.
        await world.Db.ExecuteAsync($"""
            create function refuse_poison() returns trigger language plpgsql as $$ begin if new.name = 'Poisonous' then raise exception 'poison is refused'; end if; return new; end $$
            """, Ct);
        await world.Db.ExecuteAsync($"create trigger refuse_poison before insert on alerts for each row execute function refuse_poison()", Ct);
        await world.SampleAsync("poison_level", 1);
        await world.ImportAsync("""
            groups:
              - name: poisonous
                interval: 1s
                rules: [{alert: Poisonous, expr: poison_level > 0}]
              - name: beside poison
                interval: 1s
                rules: [{alert: BesidePoison, expr: poison_level > 0, labels: {severity: high}}]
            """);

        await world.Receiver.WaitAsync("BesidePoison", 1);
        var error = await Eventually.GetAsync(async () => (await world.RulesAsync("?rule_group[]=poisonous"))[0].GetProperty("rules")[0].GetProperty("lastError").GetString() is { Length: > 0 } said ? said : null);

        Assert.Contains("poison is refused", error, StringComparison.Ordinal);
        await world.Db.ExecuteAsync($"drop trigger refuse_poison on alerts", Ct);
        await world.Receiver.WaitAsync("Poisonous", 1);
    }

    [Fact]
    public async Task An_alert_of_a_rule_says_what_was_asked_what_was_measured_and_against_what()
    {
        await world.SampleAsync("why", "why_load", 7);
        await world.SampleAsync("why", "why_twice", 1, ("a", "1"));
        await world.SampleAsync("why", "why_twice", 1, ("a", "2"));
        await world.ImportAsync("""
            groups:
              - name: whys
                interval: 1s
                rules:
                  - {alert: WhyHeld, expr: 'why_load > 5 and why_load < 100', for: 1s}
                  - {alert: WhyNothing, expr: why_nothing > 1, annotations: {platform_no_data: alert}}
                  - {alert: WhyError, expr: why_twice * on () why_twice, annotations: {platform_on_error: alert}}
            """, realm: "why");
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules", RulesWorld.Json(new { name = "WhySimple", query = "why_load", threshold_value = 4 }), HttpStatusCode.Created, "why");

        Assert.Equal("why_load > 5 and why_load < 100 for 1s | 7 | 5 | ", await WhyAsync("WhyHeld"));
        Assert.Equal("(why_load) > 4 | 7 | 4 | ", await WhyAsync("WhySimple"));
        Assert.Equal("why_nothing > 1 |  | 1 | no selector of the expression finds a sample", await WhyAsync("WhyNothing"));
        var error = await WhyAsync("WhyError");
        Assert.StartsWith("why_twice * on () why_twice |  |  | ", error, StringComparison.Ordinal);
        Assert.Contains("found duplicate series", error, StringComparison.Ordinal);

        async Task<string> WhyAsync(string name)
        {
            var alert = await Eventually.GetAsync(async () => (await world.AlertsAsync(name, "why")) is [var one] ? new Found(one) : null, because: $"{name} fires");
            var why = (await world.SendAsync(HttpMethod.Get, $"api/v1/monitoring/alerts/{alert.Json.GetProperty("id").GetString()}/why", realm: "why")).GetProperty("data").GetProperty("alert").GetProperty("why");
            return string.Join(" | ", ((string[])["condition", "value", "threshold", "seen"]).Select(field => $"{(why.TryGetProperty(field, out var value) ? value : default)}"));
        }
    }

    [Fact]
    public async Task A_backtest_says_when_a_rule_would_have_fired_and_what_an_edit_changes()
    {
        var end = DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.ToUnixTimeSeconds() / 60 * 60).AddMinutes(-1);
        var start = end.AddMinutes(-60);
        // High from minute 10 to 20 (exclusive) and from 40 to 43.
        await world.WriteAsync("default", new WrittenSeries(RulesWorld.Sorted("load_back", "default"), [.. Enumerable.Range(0, 61).Select(minute =>
            (start.AddMinutes(minute).ToUnixTimeMilliseconds(), minute is (>= 10 and < 20) or (>= 40 and < 43) ? 9.0 : 1.0))]));

        var answer = (await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules/backtest", RulesWorld.Json(new
        {
            kind = "query",
            rule = new { alert = "Load", expr = "load_back > 5", @for = "5m", labels = new { severity = "critical" }, annotations = new { summary = "{{ $value }}" } },
            before = new { alert = "Load", expr = "load_back > 5" },
            from = start,
            to = end,
            step = "1m",
        }))).GetProperty("data");

        var after = answer.GetProperty("after");
        Assert.Equal((61, 1, 1), (after.GetProperty("evaluations").GetInt32(), after.GetProperty("fired").GetInt32(), after.GetProperty("pending").GetInt32()));
        var episode = after.GetProperty("episodes")[0];
        Assert.Equal((start.AddMinutes(10), start.AddMinutes(15), start.AddMinutes(20)), (episode.GetProperty("active_at").GetDateTimeOffset(), episode.GetProperty("fired_at").GetDateTimeOffset(), episode.GetProperty("ended_at").GetDateTimeOffset()));
        Assert.Equal((300.0, "9"), (episode.GetProperty("seconds").GetDouble(), episode.GetProperty("annotations").GetProperty("summary").GetString()));
        // Nobody configured routing: the settings' channel is told at once.
        var page = Assert.Single(episode.GetProperty("paged").EnumerateArray());
        Assert.Equal((start.AddMinutes(15), "webhook", "first notification"), (page.GetProperty("at").GetDateTimeOffset(), page.GetProperty("channel").GetString(), page.GetProperty("reason").GetString()));
        var paged = Assert.Single(answer.GetProperty("paged").EnumerateArray());
        Assert.Equal(("webhook", 1, 1), (paged.GetProperty("channel").GetString(), paged.GetProperty("messages").GetInt32(), paged.GetProperty("alerts").GetInt32()));
        Assert.Equal(2, answer.GetProperty("before").GetProperty("paged")[0].GetProperty("messages").GetInt32());
        Assert.Equal(2, answer.GetProperty("before").GetProperty("fired").GetInt32());
        Assert.Equal(start.AddMinutes(40), Assert.Single(answer.GetProperty("difference").GetProperty("removed").EnumerateArray()).GetProperty("fired_at").GetDateTimeOffset());
        Assert.Empty(answer.GetProperty("difference").GetProperty("added").EnumerateArray());
        Assert.Empty(await world.AlertsAsync("Load"));
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules/backtest", RulesWorld.Json(new { rule = new { alert = "Load", expr = "load_back >" }, from = start }), HttpStatusCode.BadRequest);
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules/backtest", RulesWorld.Json(new { rule = new { alert = "Load", expr = "load_back" }, from = start.AddYears(-20), step = "1s" }), HttpStatusCode.UnprocessableEntity);
    }

    [Theory]
    [InlineData("resolve", "21m x", "")]
    [InlineData("keep", "40m x", "")]
    [InlineData("alert", "40m x", "21m no_data")]
    public async Task A_backtest_obeys_the_policy_for_no_data(string policy, string ends, string more)
    {
        var end = DateTimeOffset.FromUnixTimeSeconds(DateTimeOffset.UtcNow.ToUnixTimeSeconds() / 60 * 60).AddMinutes(-1);
        var start = end.AddMinutes(-60);
        // High from minute 10 on, nothing at all from 17 to 39 (the last sample is known for five minutes), low from 40 on; each sample ten seconds before its step.
        await world.WriteAsync("default", new WrittenSeries(RulesWorld.Sorted($"gap_{policy}", "default", ("host", "x")), [.. Enumerable.Range(0, 61).Where(minute => minute is < 17 or >= 40).Select(minute =>
            (start.AddMinutes(minute).AddSeconds(-10).ToUnixTimeMilliseconds(), minute is >= 10 and < 40 ? 9.0 : 1.0))]));

        var answer = (await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules/backtest", RulesWorld.Json(new
        {
            rule = new { alert = "Gap", expr = $"gap_{policy} > 5", no_data = policy },
            from = start,
            to = end,
            step = "1m",
        }))).GetProperty("data");

        var episodes = answer.GetProperty("after").GetProperty("episodes").EnumerateArray().Select(episode =>
            (FiredAt: episode.GetProperty("fired_at").GetDateTimeOffset(), EndedAt: episode.GetProperty("ended_at").GetDateTimeOffset(), Labels: episode.GetProperty("labels"))).ToList();
        Assert.Equal(ends, $"{(episodes[0].EndedAt - start).TotalMinutes:0}m {episodes[0].Labels.GetProperty("host").GetString()}");
        Assert.Equal(more, string.Join(' ', episodes.Skip(1).Select(episode => $"{(episode.FiredAt - start).TotalMinutes:0}m {episode.Labels.GetProperty("reason").GetString()}")));
        Assert.All(episodes.Skip(1), episode => Assert.Equal(40, (episode.EndedAt - start).TotalMinutes));
    }

    [Theory]
    [InlineData("load > 5", "group(load)")]
    [InlineData("rate(hits[5m]) > 1 or up == 0", "group(present_over_time(hits[5m])) or group(up)")]
    [InlineData("load offset 10m > load offset 10m", "group(load offset 10m)")]
    [InlineData("max_over_time(load[10m:1m] offset 1h) > 2", "group(present_over_time(load[10m] offset 1h))")]
    [InlineData("vector(1)", "")]
    public void Whether_anything_is_known_is_asked_of_the_selectors(string expr, string expected) => Assert.Equal(expected, Backtest.Known(expr));

    [Fact]
    public async Task A_backtest_of_an_event_rule_reads_the_stored_events()
    {
        var start = DateTimeOffset.UtcNow.AddHours(-2);
        // Three failures in two minutes, an hour later two.
        foreach (var seconds in (int[])[0, 60, 120, 3_600, 3_660])
        {
            await world.SendAsync(
                HttpMethod.Post, "api/v1/monitoring/events", RulesWorld.Json(new { event_type = "log", source = "backtest", timestamp = start.AddSeconds(seconds), tags = new { user_id = "u1" } }),
                HttpStatusCode.Created, "backtest", to: world.Metrics);
        }

        object Rule(int threshold) => new { name = "tried", match = new { source = "backtest" }, threshold, window_seconds = 300, group_by = (string[])["tags.user_id"], severity = "high" };
        var answer = (await world.SendAsync(
            HttpMethod.Post, "api/v1/monitoring/rules/backtest",
            RulesWorld.Json(new { kind = "events", rule = Rule(3), before = Rule(2), from = start.AddMinutes(-1), to = start.AddMinutes(90) }), realm: "backtest")).GetProperty("data");

        var episode = Assert.Single(answer.GetProperty("after").GetProperty("episodes").EnumerateArray());
        Assert.Equal((3.0, "u1"), (episode.GetProperty("value").GetDouble(), episode.GetProperty("labels").GetProperty("user_id").GetString()));
        Assert.Equal(120, (episode.GetProperty("fired_at").GetDateTimeOffset() - start).TotalSeconds, 3);
        Assert.Equal("webhook", Assert.Single(answer.GetProperty("paged").EnumerateArray()).GetProperty("channel").GetString());
        Assert.Equal(2, answer.GetProperty("before").GetProperty("fired").GetInt32());
        Assert.Equal(3_660, (Assert.Single(answer.GetProperty("difference").GetProperty("removed").EnumerateArray()).GetProperty("fired_at").GetDateTimeOffset() - start).TotalSeconds, 3);
        await world.SendAsync(HttpMethod.Post, "api/v1/monitoring/rules/backtest", RulesWorld.Json(new { kind = "events", rule = new { name = "x" }, from = start }), HttpStatusCode.BadRequest, "backtest");
    }
}
