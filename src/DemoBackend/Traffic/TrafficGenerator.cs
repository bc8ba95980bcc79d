using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Platform.DemoBackend.Accounts;

namespace Platform.DemoBackend.Traffic;

/// <summary>Carries out what <see cref="TrafficPlan"/> decides, over HTTP, through the backend's own endpoints.</summary>
public sealed partial class TrafficGenerator(DemoOptions options, OwnAddress self, IHttpClientFactory clients, IHostApplicationLifetime lifetime, TimeProvider clock, ILogger<TrafficGenerator> logger)
    : BackgroundService
{
    private readonly int _seed = options.TrafficSeed != 0 ? options.TrafficSeed : Random.Shared.Next(1, int.MaxValue);
    private readonly Dictionary<int, Diary> _diaries = [];
    private readonly Diary _admin = new() { Password = options.AdminPassword };

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (options.Traffic == "off")
        {
            return;
        }

        await StartedAsync(stoppingToken);
        var (plan, random) = (new TrafficPlan(options, _seed), new Random(_seed));
        TrafficStarts(options.TrafficPeople, _seed);

        var state = plan.Begin(clock.GetUtcNow(), random);
        for (var person = 0; person < options.TrafficPeople; person++)
        {
            await DoAsync(new Act.SignUp(person), stoppingToken);
        }

        while (!stoppingToken.IsCancellationRequested)
        {
            await Task.Delay(plan.Wait(state, clock.GetUtcNow(), random), clock, stoppingToken);
            (var act, state) = plan.Next(state, clock.GetUtcNow(), random);
            await DoAsync(act, stoppingToken);
        }
    }

    private async Task DoAsync(Act act, CancellationToken ct)
    {
        try
        {
            await CarryOutAsync(act, ct);
        }
        catch (Exception error) when (error is HttpRequestException or JsonException || (error is OperationCanceledException && !ct.IsCancellationRequested))
        {
            ActFailed(act, error);
        }
    }

    private Task CarryOutAsync(Act act, CancellationToken ct) => act switch
    {
        Act.SignUp(var person) => SignUpAsync(Town.Person(_seed, person), ct),
        Act.SignIn(var person, var mistype) => SignInAsync(Town.Person(_seed, person), mistype, ct),
        Act.SignOut(var person) => SignOutAsync(Town.Person(_seed, person), ct),
        Act.RefreshToken(var person) => RefreshAsync(Town.Person(_seed, person), ct),
        Act.ChangePassword(var person) => ChangePasswordAsync(Town.Person(_seed, person), ct),
        Act.ChangeConsent(var person, var purpose, true) => SendAsync(HttpMethod.Post, "/consents", new { purpose }, Town.Person(_seed, person), ct),
        Act.ChangeConsent(var person, var purpose, false) => SendAsync(HttpMethod.Delete, $"/consents/{purpose}", null, Town.Person(_seed, person), ct),
        Act.DeliverWebhook(var person, var target) => SendAsync(HttpMethod.Post, "/webhooks/deliver", new { target }, Town.Person(_seed, person), ct),
        Act.Overreach(var person) => SendAsync(HttpMethod.Post, $"/users/{DiaryOf(person).UserId}/roles", new { role = "admin" }, Town.Person(_seed, person), ct),
        Act.Administer(var person, var role, var by) => AdministerAsync(DiaryOf(person), role, by, ct),
        Act.Guess(var address, var name) => SendAsync(HttpMethod.Post, "/login", new { user_name = name, password = "guess-" + name }, address, "python-requests/2.32", null, ct),
        Act.BreakDependency(var name) => BreakAsync(name, ct),
        _ => throw new InvalidOperationException($"Nobody knows how to do {act.GetType().Name}."),
    };

    private async Task SignUpAsync(Citizen citizen, CancellationToken ct)
    {
        var (status, body) = await SendAsync(HttpMethod.Post, "/register", new { user_name = citizen.UserName, password = citizen.Password, mfa = citizen.HasSecondFactor }, citizen, ct);
        if (status == HttpStatusCode.Created)
        {
            var diary = DiaryOf(citizen.Number);
            diary.UserId = (string?)body?["user_id"] ?? "unknown";
            diary.Password = citizen.Password;
            diary.TotpSecret = (string?)body?["totp_secret"];
        }
    }

    private async Task SignInAsync(Citizen citizen, bool mistypeFirst, CancellationToken ct)
    {
        var diary = DiaryOf(citizen.Number);
        if (mistypeFirst)
        {
            await SendAsync(HttpMethod.Post, "/login", new { user_name = citizen.UserName, password = diary.Password[..^1] }, citizen, ct);
        }

        var (_, body) = await SendAsync(HttpMethod.Post, "/login", new { user_name = citizen.UserName, password = diary.Password }, citizen, ct);
        if ((string?)body?["challenge_id"] is { } challenge && diary.TotpSecret is { } secret)
        {
            var code = Totp.Code(Totp.FromBase32(secret), clock.GetUtcNow());
            (_, body) = await SendAsync(HttpMethod.Post, "/mfa/verify", new { challenge_id = challenge, code }, citizen, ct);
        }

        diary.Keep(body?["tokens"]);
    }

    private async Task SignOutAsync(Citizen citizen, CancellationToken ct)
    {
        await SendAsync(HttpMethod.Post, "/logout", null, citizen, ct);
        DiaryOf(citizen.Number).Keep(null);
    }

    private async Task RefreshAsync(Citizen citizen, CancellationToken ct)
    {
        if (DiaryOf(citizen.Number) is { RefreshToken: { } token } diary)
        {
            var (_, body) = await SendAsync(HttpMethod.Post, "/token/refresh", new { refresh_token = token }, citizen, ct);
            diary.Keep(body);
        }
    }

    private async Task ChangePasswordAsync(Citizen citizen, CancellationToken ct)
    {
        var diary = DiaryOf(citizen.Number);
        var renewed = $"{citizen.Password}-{clock.GetUtcNow().ToUnixTimeSeconds()}";
        var (status, _) = await SendAsync(HttpMethod.Post, "/password", new { old_password = diary.Password, new_password = renewed }, citizen, ct);
        if (status == HttpStatusCode.NoContent)
        {
            diary.Password = renewed;
        }
    }

    private async Task AdministerAsync(Diary target, string role, AdministerBy by, CancellationToken ct)
    {
        if (_admin.AccessToken is null || clock.GetUtcNow() >= _admin.SignInAgain)
        {
            var (_, body) = await AsAdminAsync(HttpMethod.Post, "/login", new { user_name = "admin", password = _admin.Password }, ct);
            _admin.Keep(body?["tokens"]);
            _admin.SignInAgain = clock.GetUtcNow().AddMinutes(10);
        }

        await (by switch
        {
            AdministerBy.Reading => AsAdminAsync(HttpMethod.Get, $"/users/{target.UserId}", null, ct),
            AdministerBy.AssigningRole => AsAdminAsync(HttpMethod.Post, $"/users/{target.UserId}/roles", new { role }, ct),
            AdministerBy.RevokingRole => AsAdminAsync(HttpMethod.Delete, $"/users/{target.UserId}/roles/{role}", null, ct),
            AdministerBy.ChangingSetting => AsAdminAsync(HttpMethod.Put, "/settings/session-hours", new { value = "12" }, ct),
        });
    }

    private async Task BreakAsync(string name, CancellationToken ct)
    {
        DependencyBreaks(name, options.OutageSeconds);
        await SendAsync(HttpMethod.Post, "/demo/outage", new { dependency = name, seconds = options.OutageSeconds }, null, "demo-traffic", null, ct);
    }

    private Task<(HttpStatusCode Status, JsonNode? Body)> AsAdminAsync(HttpMethod method, string path, object? body, CancellationToken ct) =>
        SendAsync(method, path, body, "198.19.255.1", "AdminConsole/1.0", _admin.AccessToken, ct);

    private Task<(HttpStatusCode Status, JsonNode? Body)> SendAsync(HttpMethod method, string path, object? body, Citizen citizen, CancellationToken ct) =>
        SendAsync(method, path, body, citizen.Address, citizen.UserAgent, DiaryOf(citizen.Number).AccessToken, ct);

    private async Task<(HttpStatusCode Status, JsonNode? Body)> SendAsync(
        HttpMethod method, string path, object? body, string? address, string userAgent, string? accessToken, CancellationToken ct)
    {
        using var http = clients.CreateClient("traffic");
        using var request = new HttpRequestMessage(method, new Uri(self.Get(), path));
        request.Content = body is null ? null : JsonContent.Create(body);
        request.Headers.TryAddWithoutValidation("User-Agent", userAgent);
        request.Headers.Authorization = accessToken is null ? null : new AuthenticationHeaderValue("Bearer", accessToken);
        if (address is not null)
        {
            request.Headers.Add("X-Forwarded-For", address);
        }

        using var answer = await http.SendAsync(request, ct);
        var json = answer.Content.Headers.ContentType?.MediaType is "application/json" ? await answer.Content.ReadFromJsonAsync<JsonNode>(ct) : null;
        return (answer.StatusCode, json);
    }

    private Diary DiaryOf(int person) =>
        _diaries.TryGetValue(person, out var diary) ? diary : _diaries[person] = new() { Password = Town.Person(_seed, person).Password };

    private async Task StartedAsync(CancellationToken ct)
    {
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lifetime.ApplicationStarted.Register(started.SetResult);
        await started.Task.WaitAsync(ct);
    }

    [LoggerMessage(LogLevel.Information, "traffic starts: {People} people, seed {Seed}")]
    private partial void TrafficStarts(int people, int seed);

    [LoggerMessage(LogLevel.Information, "outage: {Dependency} stays away for {Seconds} s")]
    private partial void DependencyBreaks(string dependency, int seconds);

    [LoggerMessage(LogLevel.Warning, "The backend did not answer to {Act}")]
    private partial void ActFailed(Act act, Exception error);

    // What a person remembers between two acts.
    private sealed class Diary
    {
        public string UserId { get; set; } = "unknown";

        public string Password { get; set; } = "";

        public string? TotpSecret { get; set; }

        public string? AccessToken { get; private set; }

        public string? RefreshToken { get; private set; }

        public DateTimeOffset SignInAgain { get; set; }

        public void Keep(JsonNode? tokens) => (AccessToken, RefreshToken) = ((string?)tokens?["access_token"], (string?)tokens?["refresh_token"]);
    }
}

public static class TrafficRegistration
{
    public static void AddTraffic(this IHostApplicationBuilder builder)
    {
        builder.Services.AddHttpClient("traffic", http => http.Timeout = TimeSpan.FromSeconds(10));
        builder.Services.AddHostedService<TrafficGenerator>();
    }
}
