using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Incidents.Tests;

public sealed class IncidentsApiTests(IncidentsWorld world)
{
    private const string Path = IncidentsClientOf.Path;

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_incident_goes_from_opening_to_closing_and_every_step_is_on_its_timeline()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "life", "key:mo");

        var created = await moderator.DataAsync(HttpMethod.Post, Path, new { title = "API slow", description = "2 s and more", severity = "high", assigned_to = "key:anna" });
        var id = created.GetProperty("id").GetGuid();
        await moderator.UpdateAsync(id, new { status = "investigating" });
        await moderator.DataAsync(HttpMethod.Post, $"{Path}/{id}/assign", new { assigned_to = "key:ben" });
        await moderator.UpdateAsync(id, new { status = "identified", root_cause = "Connection pool exhausted", severity = "critical" });
        await moderator.UpdateAsync(id, new { status = "resolved" });
        var closed = await moderator.UpdateAsync(id, new { status = "closed" });

        Assert.Equal(("open", "key:mo", "life"), (Text(created, "status"), Text(created, "created_by"), Text(created, "realm")));
        Assert.Equal(("closed", "critical", "key:ben", "Connection pool exhausted"), (Text(closed, "status"), Text(closed, "severity"), Text(closed, "assigned_to"), Text(closed, "root_cause")));
        Assert.NotNull(Text(closed, "acknowledged_at"));
        Assert.NotNull(Text(closed, "resolved_at"));
        Assert.NotNull(Text(closed, "closed_at"));
        Assert.Equal(6, closed.GetProperty("version").GetInt32());
        var steps = await moderator.TimelineAsync(id, "kinds=action");
        Assert.Equal(
            ["Incident opened", "status: open → investigating", "assigned_to: key:anna → key:ben", "status: investigating → identified, severity: high → critical, root_cause: set", "status: identified → resolved", "status: resolved → closed"],
            steps.Select(step => Text(step, "title")));
        Assert.All(steps, step => Assert.Equal("key:mo", Text(step, "source")));
    }

    [Fact]
    public async Task Every_deed_becomes_an_audit_record_on_the_bus()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "audited", "key:mo");
        var id = await moderator.OpenAsync();
        await moderator.UpdateAsync(id, new { severity = "low" });
        await moderator.DataAsync(HttpMethod.Post, $"{Path}/{id}/assign", new { assigned_to = "key:ben" });
        using (var noted = await moderator.SendAsync(HttpMethod.Post, $"{Path}/{id}/notes", new { text = "Restarted the pool." }))
        {
            Assert.Equal(HttpStatusCode.Created, noted.StatusCode);
        }

        await Eventually.TrueAsync(
            async () => (await moderator.TimelineAsync(id, "kinds=audit")).Select(entry => Text(entry, "title")!.Split(' ')[0]).Order(StringComparer.Ordinal)
                .SequenceEqual(["incident.assigned", "incident.created", "incident.noted", "incident.updated"]),
            because: "the four audit records come back from the bus");

        var update = (await moderator.TimelineAsync(id, "kinds=audit")).Single(entry => Text(entry, "title")!.StartsWith("incident.updated", StringComparison.Ordinal));
        Assert.Equal(("high → low", "key:mo", "success"), (Text(update.GetProperty("data"), "severity"), Text(update, "source"), Text(update, "level")));
    }

    [Fact]
    public async Task An_illegal_move_is_409_and_says_what_is_legal()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "illegal");
        var id = await moderator.OpenAsync();

        using var answer = await moderator.SendAsync(HttpMethod.Put, $"{Path}/{id}", new { status = "closed", title = "Not stored either" });
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Ct);

        Assert.Equal(HttpStatusCode.Conflict, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType!.MediaType);
        Assert.Equal(["investigating", "identified", "monitoring", "resolved"], problem.GetProperty("legal").EnumerateArray().Select(status => status.GetString()));
        Assert.Equal("Logins are slow", Text(await moderator.GetAsync($"{Path}/{id}"), "title"));
    }

    [Fact]
    public async Task A_closed_incident_is_final_but_its_root_cause_can_still_be_written()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "final");
        var id = await moderator.OpenAsync();
        await moderator.UpdateAsync(id, new { status = "resolved" });
        await moderator.UpdateAsync(id, new { status = "closed" });

        using var reopened = await moderator.SendAsync(HttpMethod.Put, $"{Path}/{id}", new { status = "open" });
        var explained = await moderator.UpdateAsync(id, new { root_cause = "A full disk" });

        Assert.Equal(HttpStatusCode.Conflict, reopened.StatusCode);
        Assert.Equal("A full disk", Text(explained, "root_cause"));
    }

    [Fact]
    public async Task Everything_wrong_with_a_request_is_told_at_once_and_nothing_is_stored()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "wrong");
        var id = await moderator.OpenAsync();

        Assert.Equal(["assigned_to", "severity", "titel", "title"], await ErrorsAsync(moderator, HttpMethod.Post, Path, """{"titel":"x","severity":"warning","assigned_to":5}"""));
        Assert.Equal(["body"], await ErrorsAsync(moderator, HttpMethod.Post, Path, "[1]"));
        Assert.Equal(["title"], await ErrorsAsync(moderator, HttpMethod.Post, Path, """{"title":"a\u0000b"}"""));
        Assert.Equal(["title"], await ErrorsAsync(moderator, HttpMethod.Post, Path, """{"title":"half \ud800 pair"}"""));
        Assert.Equal(["description", "title"], await ErrorsAsync(moderator, HttpMethod.Post, Path, new { title = new string('x', 201), description = new string('x', 10_001) }));
        Assert.Equal(["root_cause", "status"], await ErrorsAsync(moderator, HttpMethod.Put, $"{Path}/{id}", """{"status":"done","root_cause":[]}"""));
        Assert.Equal(["body"], await ErrorsAsync(moderator, HttpMethod.Put, $"{Path}/{id}", "{}"));
        Assert.Equal(["assigned_to"], await ErrorsAsync(moderator, HttpMethod.Post, $"{Path}/{id}/assign", "{}"));
        Assert.Equal(["text"], await ErrorsAsync(moderator, HttpMethod.Post, $"{Path}/{id}/notes", """{"text":" "}"""));
        Assert.Equal(["cursor", "from", "limit", "severity", "status"], await ErrorsAsync(moderator, HttpMethod.Get, $"{Path}?status=done&severity=warning&from=noon&limit=0&cursor=x"));
        Assert.Equal(["cursor", "events", "kinds", "limit", "offset", "order"], await ErrorsAsync(moderator, HttpMethod.Get, $"{Path}/{id}/timeline?order=up&events=some&kinds=rumour&limit=501&offset=-1&cursor=x"));
        Assert.Single(await moderator.ListAsync());
    }

    [Fact]
    public async Task Null_clears_a_field_and_absence_leaves_it()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "clearing");
        var id = await moderator.OpenAsync();
        await moderator.UpdateAsync(id, new { root_cause = "A guess", assigned_to = "key:ben" });

        var changed = await moderator.UpdateAsync(id, new { assigned_to = (string?)null });

        Assert.Null(Text(changed, "assigned_to"));
        Assert.Equal("A guess", Text(changed, "root_cause"));
    }

    [Fact]
    public async Task Two_people_who_change_the_same_version_do_not_overwrite_each_other()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "versions");
        var id = await moderator.OpenAsync();
        using var read = await moderator.SendAsync(HttpMethod.Get, $"{Path}/{id}");
        var tag = read.Headers.ETag!.Tag;

        using var first = await moderator.SendAsync(HttpMethod.Put, $"{Path}/{id}", new { title = "One" }, tag);
        using var second = await moderator.SendAsync(HttpMethod.Put, $"{Path}/{id}", new { title = "Two" }, tag);

        Assert.Equal(HttpStatusCode.OK, first.StatusCode);
        Assert.Equal(HttpStatusCode.PreconditionFailed, second.StatusCode);
        Assert.Equal("One", Text(await moderator.GetAsync($"{Path}/{id}"), "title"));
    }

    [Fact]
    public async Task Users_see_what_they_opened_or_are_assigned_to_and_moderators_see_all()
    {
        using var anna = await world.AsAsync(Role.User, "own", "key:anna");
        using var ben = await world.AsAsync(Role.User, "own", "key:ben");
        using var moderator = await world.AsAsync(Role.Moderator, "own", "key:mo");
        var hers = await anna.OpenAsync("Hers");
        var his = await ben.OpenAsync("His");
        var shared = await ben.OpenAsync("Shared");
        await moderator.UpdateAsync(shared, new { assigned_to = "key:anna" });

        Assert.Equal(["Shared", "Hers"], (await anna.ListAsync()).Select(incident => Text(incident, "title")));
        Assert.Equal(["Shared", "His", "Hers"], (await moderator.ListAsync()).Select(incident => Text(incident, "title")));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(anna, HttpMethod.Get, $"{Path}/{shared}/timeline"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(anna, HttpMethod.Get, $"{Path}/{his}"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(anna, HttpMethod.Get, $"{Path}/{his}/timeline"));
        Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(anna, HttpMethod.Post, $"{Path}/{his}/notes", new { text = "Mine?" }));
        Assert.Equal(HttpStatusCode.Created, await StatusAsync(anna, HttpMethod.Post, $"{Path}/{hers}/notes", new { text = "Mine." }));
    }

    [Fact]
    public async Task Lists_are_filtered_and_paged_without_gaps()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "lists");
        foreach (var severity in (string[])["critical", "high", "medium", "high", "low"])
        {
            await moderator.OpenAsync(severity, severity);
        }

        var resolved = (await moderator.ListAsync("severity=low")).Single().GetProperty("id").GetGuid();
        await moderator.UpdateAsync(resolved, new { status = "resolved" });

        var paged = new List<string?>();
        for (var cursor = ""; cursor is not null;)
        {
            var page = await moderator.GetAsync($"{Path}?limit=2&cursor={cursor}");
            paged.AddRange(page.GetProperty("items").EnumerateArray().Select(incident => Text(incident, "title")));
            cursor = Text(page, "next_cursor");
        }

        Assert.Equal(["low", "high", "medium", "high", "critical"], paged);
        Assert.Equal(2, (await moderator.ListAsync("severity=high&status=open,investigating")).Count);
        Assert.Single(await moderator.ListAsync("status=resolved"));
        Assert.Empty(await moderator.ListAsync($"to={DateTimeOffset.UtcNow.AddHours(-1):yyyy-MM-ddTHH:mm:ssZ}"));
        Assert.Equal(5, (await moderator.ListAsync($"from={DateTimeOffset.UtcNow.AddHours(-1):yyyy-MM-ddTHH:mm:ssZ}")).Count);
    }

    public static TheoryData<string, string, string> Endpoints => new()
    {
        { "POST", Path, "user moderator admin" },
        { "GET", Path, "user moderator admin service" },
        { "GET", $"{Path}/{{id}}", "user moderator admin service" },
        { "PUT", $"{Path}/{{id}}", "moderator admin" },
        { "POST", $"{Path}/{{id}}/assign", "moderator admin" },
        { "POST", $"{Path}/{{id}}/notes", "user moderator admin" },
        { "GET", $"{Path}/{{id}}/timeline", "user moderator admin service" },
        { "GET", "/internal/incidents/counts", "service" },
    };

    [Theory]
    [MemberData(nameof(Endpoints))]
    public async Task Who_may_what(string method, string path, string allowed)
    {
        using var owner = await world.AsAsync(Role.Admin, "table", "key:owner");
        var id = await owner.OpenAsync();
        path = path.Replace("{id}", id.ToString(), StringComparison.Ordinal);
        object? body = method == "GET" ? null
            : path.EndsWith("assign", StringComparison.Ordinal) ? new { assigned_to = "key:owner" }
            : path.EndsWith("notes", StringComparison.Ordinal) ? new { text = "x" }
            : new { title = "x" };

        foreach (var role in Enum.GetValues<Role>())
        {
            // The same subject everywhere, so that it is the role that decides, and not whose incident it is.
            using var inside = await world.AsAsync(role, "table", "key:owner");
            using var outside = await world.AsAsync(role, "elsewhere", "key:owner");
            var may = allowed.Split(' ').Contains(role.ToString().ToLowerInvariant());

            var status = await StatusAsync(inside, new HttpMethod(method), path, body);
            var foreign = await StatusAsync(outside, new HttpMethod(method), path.Contains(id.ToString(), StringComparison.Ordinal) ? path : $"{path}?realm=table", body);

            Assert.True(may ? (int)status is >= 200 and < 300 : status == HttpStatusCode.Forbidden, $"{role} {method} {path}: {status}");
            Assert.True(foreign == HttpStatusCode.Forbidden, $"{role} of another realm {method} {path}: {foreign}");
        }

        using var anonymous = TestWorld.Anonymous(world.Incidents);
        using var request = new HttpRequestMessage(new HttpMethod(method), new Uri(path, UriKind.Relative)) { Content = body is null ? null : JsonContent.Create(body) };
        using var answer = await anonymous.SendAsync(request, Ct);
        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
    }

    [Fact]
    public async Task An_unknown_incident_is_404_for_everybody()
    {
        using var user = await world.AsAsync(Role.User, "unknown");

        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(user, HttpMethod.Get, $"{Path}/{Guid.CreateVersion7()}"));
        Assert.Equal(HttpStatusCode.NotFound, await StatusAsync(user, HttpMethod.Get, $"{Path}/{Guid.CreateVersion7()}/timeline"));
    }

    [Fact]
    public async Task An_admin_of_all_realms_sees_all_and_can_name_one()
    {
        using var one = await world.AsAsync(Role.User, "all-one");
        using var other = await world.AsAsync(Role.User, "all-other");
        using var admin = await world.AsAsync(Role.Admin, Realm.All);
        var id = await one.OpenAsync();
        await other.OpenAsync();

        Assert.Equal([id], (await admin.ListAsync("realm=all-one")).Select(incident => incident.GetProperty("id").GetGuid()));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(admin, HttpMethod.Get, $"{Path}/{id}/timeline"));
    }

    [Fact]
    public async Task Counts_tell_how_many_and_how_long()
    {
        using var moderator = await world.AsAsync(Role.Moderator, "counts");
        using var service = await world.AsAsync(Role.Service, "counts");
        await moderator.OpenAsync();
        var id = await moderator.OpenAsync();
        await moderator.UpdateAsync(id, new { status = "investigating" });
        await moderator.UpdateAsync(id, new { status = "resolved" });
        await moderator.UpdateAsync(id, new { status = "closed" });

        var counts = await service.GetAsync("/internal/incidents/counts?realm=counts");
        var earlier = await service.GetAsync($"/internal/incidents/counts?realm=counts&to={DateTimeOffset.UtcNow.AddDays(-1):yyyy-MM-ddTHH:mm:ssZ}");

        Assert.Equal((1, 2, 1), (counts.GetProperty("open").GetInt64(), counts.GetProperty("opened").GetInt64(), counts.GetProperty("closed").GetInt64()));
        Assert.InRange(counts.GetProperty("mean_seconds_to_acknowledge").GetDouble(), 0, 60);
        Assert.InRange(counts.GetProperty("mean_seconds_to_resolve").GetDouble(), 0, 60);
        Assert.Equal((1, 0), (earlier.GetProperty("open").GetInt64(), earlier.GetProperty("opened").GetInt64()));
        Assert.Equal(JsonValueKind.Null, earlier.GetProperty("mean_seconds_to_resolve").ValueKind);
    }

    private static string? Text(JsonElement json, string field) => json.GetProperty(field).GetString();

    private static async Task<HttpStatusCode> StatusAsync(IncidentsClientOf client, HttpMethod method, string path, object? body = null)
    {
        using var answer = await client.SendAsync(method, path, body);
        return answer.StatusCode;
    }

    private static async Task<string[]> ErrorsAsync(IncidentsClientOf client, HttpMethod method, string path, object? body = null)
    {
        using var answer = await client.SendAsync(method, path, body);
        var problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Ct);
        Assert.Equal((HttpStatusCode.BadRequest, "application/problem+json"), (answer.StatusCode, answer.Content.Headers.ContentType!.MediaType));
        return [.. problem.GetProperty("errors").EnumerateObject().Select(error => error.Name).Order(StringComparer.Ordinal)];
    }
}
