using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Npgsql;
using Platform.Postgres;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Metrics.Tests;

/// <summary>One world with one Metrics service for the tests of this class; each test works in a realm of its own.</summary>
public sealed class MetricsFixture : IAsyncLifetime
{
    public TestWorld World { get; private set; } = null!;

    public ServiceProcess Metrics { get; private set; } = null!;

    public NpgsqlDataSource Db { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        World = await TestWorld.CreateAsync();
        Metrics = await World.StartAsync("Metrics", "metricsdb");
        Db = await World.OpenAsync("metricsdb");
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        await World.DisposeAsync();
    }
}

public sealed class EventsTests(MetricsFixture fixture) : IClassFixture<MetricsFixture>
{
    private const string Events = "api/v1/monitoring/events";

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_event_that_was_answered_201_is_found_with_every_field()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "fields");
        var timestamp = DateTimeOffset.UtcNow.AddMinutes(-1).ToString("yyyy-MM-ddTHH:mm:ss.ffffffZ", null);

        using var answer = await PostAsync(client, $$$"""
            {"event_type":"log","source":"web-server","message":"Request processed successfully","level":"info",
             "tags":{"service":"api","n":5,"ok":true},"payload":{"request_id":"req-123","duration_ms":245},"timestamp":"{{{timestamp}}}"}
            """);
        var found = await ListAsync(client, "");

        Assert.Equal(HttpStatusCode.Created, answer.StatusCode);
        var accepted = (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("data");
        var item = Assert.Single(found);
        Assert.Equal(accepted.GetProperty("ids")[0].GetGuid(), item.GetProperty("id").GetGuid());
        Assert.Equal("Request processed successfully", item.GetProperty("message").GetString());
        Assert.Equal(245, item.GetProperty("payload").GetProperty("duration_ms").GetInt32());
        Assert.Equal(DateTimeOffset.Parse(timestamp, null), item.GetProperty("timestamp").GetDateTimeOffset());
        Assert.Equal("fields", item.GetProperty("realm").GetString());
    }

    [Fact]
    public async Task Nothing_of_a_rejected_request_is_stored()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "rejected");

        using var answer = await PostAsync(client, """[{"event_type":"log","source":"a"},{"event_type":"nope","source":"a"}]""");
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Ct);

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType!.MediaType);
        Assert.Contains("no event type", problem.GetProperty("errors").GetProperty("[1].event_type")[0].GetString(), StringComparison.Ordinal);
        Assert.Empty(await ListAsync(client, ""));
    }

    [Fact]
    public async Task Too_large_events_and_requests_are_413()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "large");
        var event64K = $$$"""{"event_type":"log","source":"a","payload":{"x":"{{{new string('y', 64 * 1024)}}}"}}""";
        var request10M = new StringBuilder("[").AppendJoin(',', Enumerable.Repeat($$$"""{"event_type":"log","source":"a","payload":{"x":"{{{new string('y', 60_000)}}}"}}""", 180)).Append(']').ToString();

        using var largeEvent = await PostAsync(client, event64K);
        using var largeRequest = await PostAsync(client, request10M);

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, largeEvent.StatusCode);
        Assert.Contains("[0]", await largeEvent.Content.ReadAsStringAsync(Ct), StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, largeRequest.StatusCode);
        Assert.Empty(await ListAsync(client, ""));
    }

    [Fact]
    public async Task A_repeated_Idempotency_Key_stores_once_and_answers_the_same()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "idempotent");
        const string body = """[{"event_type":"log","source":"a"},{"event_type":"log","source":"b"}]""";

        // At once, so that some of them meet inside one commit and some in two.
        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => PostAsync(client, body, "\"k-1\"")));
        using var other = await PostAsync(client, """{"event_type":"log","source":"c"}""", "k-1");

        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.Created, answer.StatusCode));
        Assert.Single((await Task.WhenAll(answers.Select(answer => answer.Content.ReadAsStringAsync(Ct)))).Distinct());
        Assert.Equal(HttpStatusCode.UnprocessableEntity, other.StatusCode);
        Assert.Equal(2, (await ListAsync(client, "")).Count);
    }

    [Fact]
    public async Task Filters_narrow_by_type_source_level_time_and_tags()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "filters");
        var start = DateTimeOffset.UtcNow.AddMinutes(-30);
        using var stored = await PostAsync(client, $$$"""
            {"event_type":"log","source":"a","level":"info","tags":{"user_id":"42","n":5,"ok":true},"timestamp":"{{{start:O}}}"}
            {"event_type":"log","source":"b","level":"error","tags":{"user_id":"43"},"timestamp":"{{{start.AddMinutes(10):O}}}"}
            {"event_type":"trace","source":"a","level":"info","tags":{"user_id":"42"},"timestamp":"{{{start.AddMinutes(20):O}}}"}
            """);

        Assert.Equal(2, (await ListAsync(client, "?event_type=log")).Count);
        Assert.Equal(2, (await ListAsync(client, "?source=a")).Count);
        Assert.Single(await ListAsync(client, "?level=error"));
        Assert.Equal(2, (await ListAsync(client, "?tags.user_id=42")).Count);
        Assert.Single(await ListAsync(client, "?tags.user_id=42&tags.n=5"));
        Assert.Single(await ListAsync(client, "?tags.ok=true"));
        Assert.Single(await ListAsync(client, $"?start_time={start.AddMinutes(5):yyyy-MM-ddTHH:mm:ssZ}&end_time={start.AddMinutes(15):yyyy-MM-ddTHH:mm:ssZ}"));
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Events}?event_typ=log", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Events}?limit=5000", Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync($"{Events}?source=%00", Ct)).StatusCode);
    }

    [Theory]
    [InlineData("asc")]
    [InlineData("desc")]
    public async Task Pages_by_cursor_hold_every_event_once_in_order(string order)
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: $"pages-{order}");
        // Two days and equal timestamps, so that pages cross partitions and break ties by id.
        var start = DateTimeOffset.UtcNow.AddDays(-1).AddMinutes(-3);
        var lines = Enumerable.Range(0, 25).Select(n => $$$"""{"event_type":"log","source":"a","message":"{{{n}}}","timestamp":"{{{start.AddHours(n / 5 * 6):O}}}"}""");
        using var stored = await PostAsync(client, string.Join('\n', lines));

        var seen = new List<JsonElement>();
        string? cursor = null;
        do
        {
            var page = await PageAsync(client, $"?order={order}&limit=7{(cursor is null ? "" : $"&cursor={cursor}")}");
            seen.AddRange(page.GetProperty("items").EnumerateArray());
            cursor = page.GetProperty("next_cursor").GetString();
        }
        while (cursor is not null);

        Assert.Equal(25, seen.Select(item => item.GetProperty("id").GetGuid()).Distinct().Count());
        var times = seen.Select(item => item.GetProperty("timestamp").GetDateTimeOffset()).ToList();
        Assert.Equal(order == "asc" ? times.Order() : times.OrderDescending(), times);
        Assert.Equal(5, (await ListAsync(client, "?limit=10&offset=20")).Count);
    }

    [Theory]
    [InlineData("events?event_typ=log", "\"event_typ\" is not known at this address; event_type is probably meant. Known here are event_type, source, level, start_time, end_time, order, limit, offset, cursor, realm and tags.NAME.")]
    [InlineData("events?tag.user_id=42", "\"tag.user_id\" is not known at this address; tags.NAME is probably meant.")]
    [InlineData("events?start=2026-01-01Z", "\"start\" is not known at this address; start_time is probably meant.")]
    [InlineData("metrics?nmae=up&labels.a=1", "\"nmae\" is not known at this address; name is probably meant. Known here are name, start_time, end_time, order, limit, cursor, realm and labels.NAME.")]
    [InlineData("stats?relm=default", "\"relm\" is not known at this address; realm is probably meant. Known here is realm only.")]
    public async Task A_misspelt_parameter_is_refused(string path, string sentence)
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics);
        using var answer = await client.GetAsync($"api/v1/monitoring/{path}", Ct);

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.StartsWith(sentence, (await answer.Content.ReadFromJsonAsync<JsonElement>(Ct)).GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Realms_do_not_see_each_other()
    {
        using var red = await fixture.World.ClientAsync(fixture.Metrics, realm: "red");
        using var blue = await fixture.World.ClientAsync(fixture.Metrics, realm: "blue");
        using var all = await fixture.World.ClientAsync(fixture.Metrics, realm: Realm.All);
        using var stored = await PostAsync(red, """{"event_type":"log","source":"a"}""");

        Assert.Empty(await ListAsync(blue, ""));
        Assert.Single(await ListAsync(all, "?realm=red"));
        Assert.Equal(HttpStatusCode.Forbidden, (await blue.GetAsync($"{Events}?realm=red", Ct)).StatusCode);
    }

    [Fact]
    public async Task Without_a_ticket_or_with_the_wrong_scope_nothing_goes()
    {
        using var anonymous = TestWorld.Anonymous(fixture.Metrics);
        using var ingest = await fixture.World.ClientAsync(fixture.Metrics, Role.User, "scopes", Scopes.Ingest);
        using var read = await fixture.World.ClientAsync(fixture.Metrics, Role.User, "scopes", Scopes.Read);
        using var auditor = await fixture.World.ClientAsync(fixture.Metrics, Role.Auditor, "scopes");

        Assert.Equal(HttpStatusCode.Unauthorized, (await anonymous.GetAsync(Events, Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await ingest.GetAsync(Events, Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await PostAsync(read, """{"event_type":"log","source":"a"}""")).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await auditor.GetAsync(Events, Ct)).StatusCode);
        Assert.Equal(HttpStatusCode.Forbidden, (await ingest.GetAsync("internal/events/actions?from=2026-01-01Z&to=2026-01-02Z", Ct)).StatusCode);
    }

    [Fact]
    public async Task Many_small_requests_share_few_commits_and_all_are_stored()
    {
        using var client = await fixture.World.ClientAsync(fixture.Metrics, realm: "many");

        var answers = await Task.WhenAll(Enumerable.Range(0, 400).Select(n => PostAsync(client, $$$"""{"event_type":"log","source":"s","tags":{"n":{{{n}}}}}""")));
        var commits = await fixture.Db.FindAsync($"select count(distinct xmin::text) from events where realm = 'many'", row => row.GetInt64(0), Ct);

        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.Created, answer.StatusCode));
        Assert.Equal(400, await fixture.Db.FindAsync($"select count(*) from events where realm = 'many'", row => row.GetInt64(0), Ct));
        Assert.InRange(commits, 1, 200);
    }

    [Fact]
    public async Task Statistics_count_what_was_stored()
    {
        using var moderator = await fixture.World.ClientAsync(fixture.Metrics, Role.Moderator, "stats");
        using var stored = await PostAsync(moderator, $$$"""[{"event_type":"log","source":"a"},{"event_type":"log","source":"a","timestamp":"{{{DateTimeOffset.UtcNow.AddHours(-3):O}}}"}]""");

        var data = (await moderator.GetFromJsonAsync<JsonElement>("api/v1/monitoring/stats", Ct)).GetProperty("data");

        Assert.Equal(2, data.GetProperty("total_events").GetInt64());
        Assert.Equal(1, data.GetProperty("events_last_hour").GetInt64());
        // Neither service runs in this world: unknown, not zero.
        Assert.Equal(JsonValueKind.Null, data.GetProperty("open_incidents").ValueKind);
    }

    [Fact]
    public async Task Days_out_of_retention_are_dropped_whole()
    {
        var old = DateTimeOffset.UtcNow.AddDays(-40);
        var name = $"events_{old:yyyyMMdd}";
        await using (var create = fixture.Db.CreateCommand($"create table {name} partition of events for values from ('{old:yyyy-MM-dd} 00:00+00') to ('{old.AddDays(1):yyyy-MM-dd} 00:00+00')"))
        {
            await create.ExecuteNonQueryAsync(Ct);
        }

        // A replica that starts now does the day's maintenance.
        await using var replica = await fixture.World.StartAsync("Metrics", "metricsdb");

        await Eventually.TrueAsync(
            async () => await fixture.Db.FindAsync($"select count(*) from pg_class where relname = {name}", row => row.GetInt64(0), Ct) == 0,
            because: "the partition out of retention is dropped");
    }

    private static async Task<HttpResponseMessage> PostAsync(HttpClient client, string body, string? key = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Events) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        // As curl does with a large body: ask first, so that a refusal arrives before the body is on its way.
        request.Headers.ExpectContinue = body.Length > 1024 * 1024;
        if (key is not null)
        {
            request.Headers.TryAddWithoutValidation("Idempotency-Key", key);
        }

        return await client.SendAsync(request, Ct);
    }

    private static async Task<JsonElement> PageAsync(HttpClient client, string query) =>
        (await client.GetFromJsonAsync<JsonElement>(Events + query, Ct)).GetProperty("data");

    private static async Task<List<JsonElement>> ListAsync(HttpClient client, string query) =>
        [.. (await PageAsync(client, query)).GetProperty("items").EnumerateArray()];
}
