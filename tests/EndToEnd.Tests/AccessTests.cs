using System.Net;
using System.Text;
using System.Text.Json;
using Platform.Testing;

namespace Platform.EndToEnd.Tests;

/// <summary>Who may call what: every endpoint × every role × a foreign realm, through the gateway.</summary>
public sealed class AccessTests(PlatformFixture fixture)
{
    // public: anybody · ingest, read: a user whose key has that scope · both: a user with both scopes · moderator · admin · audit: auditor and admin ·
    // operator: an admin of all realms
    private const string Table = """
        POST   /api/v1/monitoring/events                                   ingest
        GET    /api/v1/monitoring/events                                   read
        GET    /api/v1/monitoring/stats                                    read
        POST   /prometheus/api/v1/write                                    ingest
        POST   /otlp/v1/metrics                                            ingest
        POST   /api/v1/monitoring/metrics                                  ingest
        GET    /api/v1/monitoring/metrics                                  read
        GET    /prometheus/api/v1/query                                    read
        POST   /prometheus/api/v1/query                                    read
        GET    /prometheus/api/v1/query_range                              read
        POST   /prometheus/api/v1/query_range                              read
        GET    /prometheus/api/v1/series                                   read
        POST   /prometheus/api/v1/series                                   read
        GET    /prometheus/api/v1/labels                                   read
        POST   /prometheus/api/v1/labels                                   read
        GET    /prometheus/api/v1/label/{name}/values                      read
        GET    /prometheus/api/v1/metadata                                 read
        GET    /prometheus/api/v1/query_exemplars                          read
        POST   /prometheus/api/v1/query_exemplars                          read
        GET    /prometheus/api/v1/format_query                             read
        POST   /prometheus/api/v1/format_query                             read
        GET    /prometheus/api/v1/parse_query                              read
        POST   /prometheus/api/v1/parse_query                              read
        GET    /prometheus/api/v1/rules                                    read
        GET    /prometheus/api/v1/alerts                                   read
        GET    /prometheus/api/v1/targets                                  read
        GET    /prometheus/api/v1/targets/metadata                         read
        GET    /prometheus/api/v1/status/buildinfo                         read
        GET    /prometheus/api/v1/status/config                            read
        GET    /prometheus/api/v1/status/flags                             read
        GET    /prometheus/api/v1/status/runtimeinfo                       read
        GET    /prometheus/api/v1/status/tsdb                              read
        GET    /prometheus/federate                                        read
        GET    /prometheus/-/healthy                                       read
        GET    /prometheus/-/ready                                         read
        GET    /api/v1/monitoring/metrics/prometheus                       read
        GET    /monitoring/metrics/                                        read
        GET    /metrics/                                                   read
        GET    /monitoring/health/                                         public
        GET    /monitoring/status/                                         public
        GET    /monitoring/health/detailed/                                read
        GET    /api/health                                                 read
        GET    /api/v1/monitoring/health/checks                            read
        GET    /api/v1/monitoring/health/checks/{component}/history        read
        GET    /api/v1/monitoring/health/heartbeats                        read
        PUT    /api/v1/monitoring/health/heartbeats/{name}                 moderator
        POST   /api/v1/monitoring/health/heartbeats/{name}                 ingest
        DELETE /api/v1/monitoring/health/heartbeats/{name}                 moderator
        GET    /api/v1/monitoring/rules                                    moderator
        POST   /api/v1/monitoring/rules                                    moderator
        POST   /api/v1/monitoring/alerts                                   moderator
        GET    /api/v1/monitoring/rules/{id}                               moderator
        PUT    /api/v1/monitoring/rules/{id}                               moderator
        DELETE /api/v1/monitoring/rules/{id}                               moderator
        POST   /api/v1/monitoring/rules/restore-defaults                   operator
        POST   /api/v1/monitoring/rules/backtest                           moderator
        GET    /api/v1/monitoring/rule-groups                              moderator
        POST   /api/v1/monitoring/rule-groups                              moderator
        GET    /api/v1/monitoring/rule-groups/{id}                         moderator
        PUT    /api/v1/monitoring/rule-groups/{id}                         moderator
        DELETE /api/v1/monitoring/rule-groups/{id}                         moderator
        GET    /api/v1/monitoring/alerts                                   read
        GET    /api/v1/monitoring/alerts/{id}                              read
        POST   /api/v1/monitoring/alerts/create                            moderator
        POST   /api/v1/monitoring/alerts/{id}/acknowledge                  moderator
        POST   /api/v1/monitoring/alerts/{id}/resolve                      moderator
        POST   /monitoring/alerts/create/                                  moderator
        POST   /monitoring/alerts/{id}/acknowledge/                        moderator
        POST   /monitoring/alerts/{id}/resolve/                            moderator
        GET    /api/v1/monitoring/notifications                            moderator
        POST   /api/v1/monitoring/notifications/{id}/retry                 moderator
        GET    /api/v1/monitoring/alerts/{id}/why                          moderator
        GET    /api/v1/monitoring/routing                                  moderator
        PUT    /api/v1/monitoring/routing                                  admin
        GET    /api/v1/monitoring/routing/history                          moderator
        POST   /api/v1/monitoring/routing/simulate                         moderator
        GET    /api/v1/monitoring/silences                                 read
        GET    /api/v1/monitoring/silences/{id}                            read
        POST   /api/v1/monitoring/silences                                 moderator
        POST   /api/v1/monitoring/silences/preview                         moderator
        PUT    /api/v1/monitoring/silences/{id}                            moderator
        DELETE /api/v1/monitoring/silences/{id}                            moderator
        GET    /api/v1/monitoring/channels                                 moderator
        POST   /api/v1/monitoring/channels/{id}/test                       moderator
        GET    /api/v1/monitoring/channels/{id}                            moderator
        POST   /api/v1/monitoring/channels                                 admin
        PUT    /api/v1/monitoring/channels/{id}                            admin
        DELETE /api/v1/monitoring/channels/{id}                            admin
        GET    /api/v1/monitoring/on-call/users                            read
        POST   /api/v1/monitoring/on-call/users                            admin
        GET    /api/v1/monitoring/on-call/users/{id}                       read
        PUT    /api/v1/monitoring/on-call/users/{id}                       admin
        DELETE /api/v1/monitoring/on-call/users/{id}                       admin
        GET    /api/v1/monitoring/schedules                                read
        POST   /api/v1/monitoring/schedules                                moderator
        GET    /api/v1/monitoring/schedules/{id}                           read
        PUT    /api/v1/monitoring/schedules/{id}                           moderator
        DELETE /api/v1/monitoring/schedules/{id}                           moderator
        GET    /api/v1/monitoring/escalation-policies                      read
        POST   /api/v1/monitoring/escalation-policies                      moderator
        GET    /api/v1/monitoring/escalation-policies/{id}                 read
        PUT    /api/v1/monitoring/escalation-policies/{id}                 moderator
        DELETE /api/v1/monitoring/escalation-policies/{id}                 moderator
        GET    /alertmanager/api/v2/alerts                                 read
        POST   /alertmanager/api/v2/alerts                                 ingest
        GET    /alertmanager/api/v2/alerts/groups                          read
        GET    /alertmanager/api/v2/receivers                              read
        GET    /alertmanager/api/v2/status                                 read
        GET    /alertmanager/api/v2/silences                               read
        POST   /alertmanager/api/v2/silences                               moderator
        GET    /alertmanager/api/v2/silence/{id}                           read
        DELETE /alertmanager/api/v2/silence/{id}                           moderator
        GET    /alertmanager/-/healthy                                     read
        GET    /alertmanager/-/ready                                       read
        POST   /alertmanager/-/reload                                      moderator
        POST   /integrations/alertmanager                                  ingest
        POST   /integrations/pagerduty/v2/enqueue                          public
        GET    /api/v1/monitoring/integration-keys                         admin
        POST   /api/v1/monitoring/integration-keys                         admin
        DELETE /api/v1/monitoring/integration-keys/{id}                    admin
        GET    /api/v1/monitoring/on-call                                  read
        GET    /api/v1/monitoring/alerts/{id}/escalation                   read
        GET    /api/v1/monitoring/schedules/{id}/shifts                    read
        GET    /api/v1/monitoring/schedules/{id}/overrides                 read
        POST   /api/v1/monitoring/schedules/{id}/overrides                 moderator
        DELETE /api/v1/monitoring/schedules/{id}/overrides/{number}        moderator
        POST   /api/v1/monitoring/incidents                                both
        GET    /api/v1/monitoring/incidents                                read
        GET    /api/v1/monitoring/incidents/{id}                           read
        PUT    /api/v1/monitoring/incidents/{id}                           moderator
        POST   /api/v1/monitoring/incidents/{id}/assign                    moderator
        POST   /api/v1/monitoring/incidents/{id}/notes                     both
        GET    /api/v1/monitoring/incidents/{id}/timeline                  read
        GET    /api/v1/monitoring/audit                                    audit
        GET    /api/v1/monitoring/audit/{id}                               audit
        GET    /api/v1/monitoring/audit/verify                             audit
        GET    /api/v1/monitoring/audit/public-key                         audit
        GET    /api/v1/monitoring/audit/export                             audit
        GET    /api/v1/monitoring/compliance/report                        audit
        GET    /monitoring/compliance/report/                              audit
        POST   /api/v1/monitoring/compliance/subjects/{subject}/erase      admin
        GET    /api/v1/monitoring/api-keys                                 admin
        POST   /api/v1/monitoring/api-keys                                 admin
        DELETE /api/v1/monitoring/api-keys/{id}                            admin
        GET    /api/v1/monitoring/dead-letters/metrics                     operator
        GET    /api/v1/monitoring/dead-letters/health                      operator
        GET    /api/v1/monitoring/dead-letters/alerting                    operator
        GET    /api/v1/monitoring/dead-letters/incidents                   operator
        GET    /api/v1/monitoring/dead-letters/compliance                  operator
        GET    /api/v1/monitoring/dead-letters/gateway                     operator
        POST   /api/v1/monitoring/dead-letters/metrics/{messageId}/replay     operator
        POST   /api/v1/monitoring/dead-letters/health/{messageId}/replay      operator
        POST   /api/v1/monitoring/dead-letters/alerting/{messageId}/replay    operator
        POST   /api/v1/monitoring/dead-letters/incidents/{messageId}/replay   operator
        POST   /api/v1/monitoring/dead-letters/compliance/{messageId}/replay  operator
        POST   /api/v1/monitoring/dead-letters/gateway/{messageId}/replay     operator
        GET    /openapi/v1.json                                            read
        GET    /internal/metrics                                           admin
        """;

    // Which credentials each word of the table lets in.
    private static readonly Dictionary<string, string[]> Reach = new()
    {
        ["public"] = ["anonymous", "ingest", "read", "both", "moderator", "admin", "auditor", "operator"],
        ["ingest"] = ["ingest", "both", "moderator", "admin", "operator"],
        ["read"] = ["read", "both", "moderator", "admin", "operator"],
        ["both"] = ["both", "moderator", "admin", "operator"],
        ["moderator"] = ["moderator", "admin", "operator"],
        ["admin"] = ["admin", "operator"],
        ["audit"] = ["auditor", "admin", "operator"],
        ["operator"] = ["operator"],
    };

    // Tags of Alerting: each of its operations says in the document what it does, and shows a body where it takes one.
    private static readonly string[] Alerting = ["Rules", "Rule groups", "Alerts", "Silences", "Routing", "Notifications", "Channels", "On call", "Alertmanager", "Integrations"];

    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_endpoint_lets_in_exactly_the_roles_of_the_table()
    {
        using var anonymous = new GatewayClient(fixture.Platform.GatewayUrl, null);
        using var ingest = await fixture.Admin.WithKeyAsync("user", "home", "ingest");
        using var read = await fixture.Admin.WithKeyAsync("user", "home", "read");
        using var both = await fixture.Admin.WithKeyAsync("user", "home");
        using var moderator = await fixture.Admin.WithKeyAsync("moderator", "home");
        using var admin = await fixture.Admin.WithKeyAsync("admin", "home");
        using var auditor = await fixture.Admin.WithKeyAsync("auditor", "home");
        var clients = new Dictionary<string, GatewayClient>
        {
            ["anonymous"] = anonymous,
            ["ingest"] = ingest,
            ["read"] = read,
            ["both"] = both,
            ["moderator"] = moderator,
            ["admin"] = admin,
            ["auditor"] = auditor,
            ["operator"] = fixture.Admin,
        };

        var wrong = new List<string>();
        foreach (var (method, path, word) in Rows())
        {
            foreach (var (name, client) in clients)
            {
                var (status, said) = await CallAsync(client, method, path);
                var isIn = status is not (HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden);
                var expected = Reach[word].Contains(name) ? isIn : status == (name == "anonymous" ? HttpStatusCode.Unauthorized : HttpStatusCode.Forbidden);
                if (!expected || ((int)status >= 500 && !IsHealthWord(path)))
                {
                    wrong.Add($"{method} {path} as {name}: {(int)status}");
                }

                if (status == HttpStatusCode.Forbidden && !(said.StartsWith("Missing: the ", StringComparison.Ordinal) && said.Contains("the realm \"home\"", StringComparison.Ordinal)))
                {
                    wrong.Add($"{method} {path} as {name} does not say what is missing: {said}");
                }
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public async Task No_role_reaches_a_foreign_realm()
    {
        using var ingest = await fixture.Admin.WithKeyAsync("user", "abroad");
        using var moderator = await fixture.Admin.WithKeyAsync("moderator", "abroad");
        using var admin = await fixture.Admin.WithKeyAsync("admin", "abroad");
        using var auditor = await fixture.Admin.WithKeyAsync("auditor", "abroad");

        var wrong = new List<string>();
        foreach (var (method, path, word) in Rows().Where(row => row.Word != "public"))
        {
            foreach (var client in (GatewayClient[])[ingest, moderator, admin, auditor])
            {
                var (status, said) = await CallAsync(client, method, path, "?realm=home");
                if (status != HttpStatusCode.Forbidden || !said.Contains("the realm \"home\". The credential has the role", StringComparison.Ordinal) || !said.EndsWith("and the realm \"abroad\".", StringComparison.Ordinal))
                {
                    wrong.Add($"{method} {path}?realm=home ({word}): {(int)status} {said}");
                }
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public async Task A_parameter_that_is_not_known_is_refused_by_the_platforms_own_endpoints_and_by_no_other()
    {
        var wrong = new List<string>();
        foreach (var (method, path, _) in Rows())
        {
            // Whoever scrapes may send parameters of its own, wherever the figures are.
            var isOwn = path.StartsWith("/api/v1/", StringComparison.Ordinal) && !path.EndsWith("/metrics/prometheus", StringComparison.Ordinal);
            var (status, said) = await CallAsync(fixture.Admin, method, path, "?no_such_thing=1");
            var isRefused = status == HttpStatusCode.BadRequest && said.StartsWith("\"no_such_thing\" is not known at this address", StringComparison.Ordinal) && said.Contains(" realm", StringComparison.Ordinal);
            if (isRefused != isOwn)
            {
                wrong.Add($"{method} {path}: {(int)status} {said}");
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public async Task The_table_and_the_documentation_know_every_operation_of_the_OpenAPI_document()
    {
        // A service that makes its document for the first time on a busy machine may miss the gateway's patience; the next answer has it.
        var document = (JsonElement)await Eventually.GetAsync<object>(
            async () => await fixture.Admin.GetAsync("/openapi/v1.json") is var merged && !merged.TryGetProperty("x-unavailable", out _) ? merged : null,
            because: "the merged document has the part of every service");
        var documentation = await File.ReadAllTextAsync(Path.Combine(RepositoryFolder.Path, "docs", "api.md"), Ct);
        var known = Rows().Select(row => $"{row.Method} {Normal(row.Path)}").ToHashSet(StringComparer.Ordinal);

        var operations = document.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Where(part => part.Name is "get" or "post" or "put" or "delete" or "patch").Select(part => $"{part.Name.ToUpperInvariant()} {Normal(path.Name)}"))
            .ToList();

        Assert.All(operations, operation => Assert.Contains(operation, known));
        var undescribed = document.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Select(operation => (Name: $"{operation.Name} {path.Name}", Described: operation.Value)))
            .Where(operation => operation.Described.TryGetProperty("tags", out var tags) && Alerting.Contains(tags[0].GetString()!))
            .Where(operation => !operation.Described.TryGetProperty("summary", out _)
                || (operation.Described.TryGetProperty("requestBody", out var body) && !body.GetProperty("content").EnumerateObject().Any(media => media.Value.TryGetProperty("example", out _))))
            .Select(operation => operation.Name);
        Assert.Empty(undescribed);
        Assert.All(Rows(), row => Assert.Contains(row.Path.TrimEnd('/'), documentation, StringComparison.Ordinal));
    }

    private static IEnumerable<(HttpMethod Method, string Path, string Word)> Rows() =>
        Table.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(cells => (new HttpMethod(cells[0]), cells[1], cells[2]));

    // Names of path parameters and a slash at the end do not matter.
    private static string Normal(string path) =>
        string.Join('/', path.TrimEnd('/').Split('/').Select(part => part.StartsWith('{') ? "{}" : part));

    // Their 503 is the answer, in the shape that load balancers and seed 002 expect: the platform is not healthy (yet).
    private static bool IsHealthWord(string path) => path is "/monitoring/health/" or "/api/health";

    // What the answer says in words is there for those that are refused in the platform's own form, or in Alertmanager's.
    private static async Task<(HttpStatusCode Status, string Said)> CallAsync(GatewayClient client, HttpMethod method, string path, string query = "")
    {
        var place = path.Replace("{component}", "postgres", StringComparison.Ordinal).Replace("{subject}", "nobody", StringComparison.Ordinal)
            .Replace("{id}", "01900000-0000-7000-8000-000000000000", StringComparison.Ordinal).Replace("{number}", "01900000-0000-7000-8000-000000000000", StringComparison.Ordinal).Replace("{messageId}", "none", StringComparison.Ordinal);
        using var request = new HttpRequestMessage(method, new Uri(place + query, UriKind.Relative));
        if (method != HttpMethod.Get && method != HttpMethod.Delete)
        {
            request.Content = new StringContent("{}", Encoding.UTF8, "application/json");
        }

        using var answer = await client.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Ct);
        if ((int)answer.StatusCode >= 400 && !(IsHealthWord(path) && answer.StatusCode == HttpStatusCode.ServiceUnavailable))
        {
            if (path.StartsWith("/prometheus/", StringComparison.Ordinal) && answer.StatusCode is not (HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden))
            {
                // What a Prometheus client gets for a wrong parameter is in the words of Prometheus.
                var words = await answer.Content.ReadAsStringAsync(Ct);
                Assert.True(path.EndsWith("/write", StringComparison.Ordinal) ? words.Length > 10 : JsonElement.Parse(words).GetProperty("status").GetString() == "error", $"{method} {path}: {words}");
                return (answer.StatusCode, "");
            }

            if (path.StartsWith("/alertmanager/", StringComparison.Ordinal))
            {
                // What an Alertmanager client gets is a bare text.
                return (answer.StatusCode, JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct)).GetString()!);
            }

            if (path.StartsWith("/integrations/pagerduty/", StringComparison.Ordinal))
            {
                Assert.Equal("invalid event", JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct)).GetProperty("status").GetString());
                return (answer.StatusCode, "");
            }

            Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
            var problem = JsonElement.Parse(await answer.Content.ReadAsStringAsync(Ct));
            Assert.False(string.IsNullOrEmpty(problem.GetProperty("traceId").GetString()), $"{method} {path} has no traceId.");
            return (answer.StatusCode, problem.TryGetProperty("detail", out var detail) ? detail.GetString()! : "");
        }

        return (answer.StatusCode, "");
    }
}
