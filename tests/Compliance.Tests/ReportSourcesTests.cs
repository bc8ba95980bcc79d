using System.Net.Http.Json;
using System.Text.Json;
using Platform.ServiceDefaults;
using Platform.Testing;

namespace Platform.Compliance.Tests;

public sealed class ReportSourcesTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Metrics_and_Incidents_contribute_what_they_stored()
    {
        await using var world = await TestWorld.CreateAsync();
        var metrics = await world.StartAsync("Metrics", "metricsdb");
        var incidents = await world.StartAsync("Incidents", "incidentsdb", ("services__metrics__http__0", metrics.Url.ToString()));
        var compliance = await world.StartAsync(
            "Compliance", "compliancedb", ("services__metrics__http__0", metrics.Url.ToString()), ("services__incidents__http__0", incidents.Url.ToString()));
        using var application = await world.ClientAsync(metrics);
        using var auditor = await world.ClientAsync(compliance, Role.Auditor);
        using var everywhere = await world.ClientAsync(compliance, Role.Admin, Realm.All);

        object Login(string outcome) => new { event_type = "log", source = "auth-api", message = "Login", timestamp = DateTimeOffset.UtcNow, tags = new { action = "login", outcome } };
        using var stored = await application.PostAsJsonAsync("/api/v1/monitoring/events", new[] { Login("success"), Login("failure"), Login("failure") }, Ct);
        Assert.True(stored.IsSuccessStatusCode, await stored.Content.ReadAsStringAsync(Ct));

        foreach (var client in new[] { auditor, everywhere })
        {
            var to = DateTimeOffset.UtcNow.AddMinutes(1).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", null);
            var report = (await client.GetFromJsonAsync<JsonElement>($"/api/v1/monitoring/compliance/report?type=gdpr&to={to}", Ct)).GetProperty("data");
            var figures = report.GetProperty("figures").EnumerateArray().ToArray();

            var failed = Assert.Single(figures, figure => figure.GetProperty("name").GetString() == "logins" && figure.GetProperty("labels").GetProperty("outcome").GetString() == "failure");
            Assert.Equal(2, failed.GetProperty("value").GetDouble());
            Assert.Equal(0, Assert.Single(figures, figure => figure.GetProperty("name").GetString() == "incidents_opened").GetProperty("value").GetDouble());
            Assert.Contains(report.GetProperty("not_measured").EnumerateArray(), missing => missing.GetProperty("name").GetString() == "mean_time_to_resolve");
        }
    }
}
