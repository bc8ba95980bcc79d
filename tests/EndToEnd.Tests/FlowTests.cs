using System.Text.Json;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>From a login attempt to a closed incident, through the gateway only.</summary>
public sealed class FlowTests(PlatformFixture fixture)
{
    [Fact]
    public async Task Ten_failed_logins_page_somebody_and_end_as_a_closed_incident_with_an_audit_trail()
    {
        const string realm = "flow";
        const string address = "203.0.113.77";
        using var application = await fixture.Admin.WithKeyAsync("user", realm, "ingest");
        using var moderator = await fixture.Admin.WithKeyAsync("moderator", realm);
        using var auditor = await fixture.Admin.WithKeyAsync("auditor", realm);
        var page = fixture.Pages.NextAsync("ip_address", address);

        for (var attempt = 0; attempt < 10; attempt++)
        {
            await application.SendAsync(HttpMethod.Post, "/api/v1/monitoring/events", FailedLogin(address, attempt));
        }

        var paged = await page.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        Assert.Equal("4", paged.Body.GetProperty("version").GetString());

        var incident = await Eventually.GetAsync<object>(async () => (await moderator.ListAsync("/api/v1/monitoring/incidents")) is [var only] ? only : null, because: "one incident is open");
        var id = ((JsonElement)incident).GetProperty("id").GetString();
        Assert.Equal("open", ((JsonElement)incident).GetProperty("status").GetString());

        await Eventually.TrueAsync(
            async () =>
            {
                var timeline = await moderator.ListAsync($"/api/v1/monitoring/incidents/{id}/timeline");
                return timeline.Count(entry => Kind(entry) == "event") == 10
                    && timeline.Any(entry => Kind(entry) == "alert")
                    && timeline.Any(entry => Kind(entry) == "notification");
            },
            because: "the failing logins, the alert and its notification are on the timeline");

        var alert = Assert.Single(await moderator.ListAsync("/api/v1/monitoring/alerts"));
        var alertId = alert.GetProperty("id").GetString();
        await moderator.SendAsync(HttpMethod.Post, $"/monitoring/alerts/{alertId}/acknowledge/", new { reason = "on it" });
        await moderator.SendAsync(HttpMethod.Put, $"/api/v1/monitoring/incidents/{id}", new { status = "investigating", root_cause = "A forgotten cron job with an old password" });
        await moderator.SendAsync(HttpMethod.Post, $"/monitoring/alerts/{alertId}/resolve/", new { reason = "password renewed" });
        await moderator.SendAsync(HttpMethod.Put, $"/api/v1/monitoring/incidents/{id}", new { status = "resolved" });
        await moderator.SendAsync(HttpMethod.Put, $"/api/v1/monitoring/incidents/{id}", new { status = "closed" });

        Assert.Equal("closed", (await moderator.GetAsync($"/api/v1/monitoring/incidents/{id}")).GetProperty("status").GetString());
        await Eventually.TrueAsync(
            async () =>
            {
                var actions = (await auditor.ListAsync("/api/v1/monitoring/audit")).Select(record => record.GetProperty("action").GetString()).ToHashSet();
                return actions.IsSupersetOf(["alert.acknowledged", "alert.resolved", "incident.updated"]);
            },
            because: "every human action is in the audit trail");
        Assert.True((await auditor.GetAsync("/api/v1/monitoring/audit/verify")).GetProperty("ok").GetBoolean());
    }

    [Fact]
    public async Task A_browser_shows_the_status_page_in_its_style()
    {
        using var browser = new HttpRequestMessage(HttpMethod.Get, new Uri("/monitoring/status/", UriKind.Relative));
        browser.Headers.Accept.ParseAdd("text/html,application/xhtml+xml,*/*;q=0.8");

        using var page = await fixture.Admin.Http.SendAsync(browser, TestContext.Current.CancellationToken);

        var policy = page.Headers.GetValues("Content-Security-Policy").Single();
        Assert.All((string[])["default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'"], part => Assert.Contains(part, policy, StringComparison.Ordinal));
        Assert.Contains("<style>", await page.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Everything_works_while_Redis_hangs()
    {
        const string address = "203.0.113.88";
        using var application = await fixture.Admin.WithKeyAsync("user", "no-redis", "ingest");
        var page = fixture.Pages.NextAsync("ip_address", address);
        await fixture.Platform.SuspendAsync("cache", TestContext.Current.CancellationToken);
        try
        {
            for (var attempt = 0; attempt < 10; attempt++)
            {
                await application.SendAsync(HttpMethod.Post, "/api/v1/monitoring/events", FailedLogin(address, attempt));
            }

            await page.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        }
        finally
        {
            await fixture.Platform.ResumeAsync("cache", CancellationToken.None);
        }
    }

    private static string? Kind(JsonElement entry) => entry.GetProperty("kind").GetString();

    private static object FailedLogin(string address, int attempt) => new
    {
        event_type = "log",
        source = "auth-api",
        message = "Login failed",
        level = "warning",
        tags = new { action = "login", outcome = "failure", user_id = "anna", ip_address = address, attempt },
    };
}
