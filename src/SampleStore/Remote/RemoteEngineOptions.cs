using System.ComponentModel.DataAnnotations;
using System.Net.Http.Headers;
using System.Text;
using Platform.ServiceDefaults;

namespace Platform.SampleStore;

/// <summary>The engine that keeps the samples with <c>METRICS_STORAGE_BACKEND=prometheus</c>, and how to speak to it. It is part of the platform like a database: the outbound guard does not apply.</summary>
public sealed class RemoteEngineOptions : IValidatableObject
{
    /// <summary>Where its API begins: <c>/api/v1/query</c> is below it.</summary>
    [Setting("METRICS_PROMETHEUS_URL")]
    public string Url { get; init; } = "";

    /// <summary>Where it takes remote write; <c>/api/v1/write</c> below the URL unless set.</summary>
    [Setting("METRICS_PROMETHEUS_WRITE_URL")]
    public string WriteUrl { get; init; } = "";

    [Setting("METRICS_PROMETHEUS_USERNAME")]
    public string Username { get; init; } = "";

    [Setting("METRICS_PROMETHEUS_PASSWORD", Secret = true)]
    public string Password { get; init; } = "";

    /// <summary>Sent as bearer token, instead of a user name and password.</summary>
    [Setting("METRICS_PROMETHEUS_TOKEN", Secret = true)]
    public string Token { get; init; } = "";

    /// <summary>Sent as <c>X-Scope-OrgID</c>, which is how Mimir and Cortex tell tenants apart. Realms are labels within it.</summary>
    [Setting("METRICS_PROMETHEUS_TENANT")]
    public string Tenant { get; init; } = "";

    /// <summary>How long it may take to confirm a write.</summary>
    [Setting("METRICS_PROMETHEUS_WRITE_TIMEOUT_SECONDS"), Range(1, 600)]
    public TimeSpan WriteTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Largest answer that is read as a whole (label names and the like). Answers to queries are passed on as they come.</summary>
    [Setting("METRICS_PROMETHEUS_MAX_ANSWER_BYTES"), Range(65_536, 2_147_483_647)]
    public int MaxAnswerBytes { get; init; } = 128 * 1024 * 1024;

    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        foreach (var (name, url, isRequired) in ((string, string, bool)[])[("METRICS_PROMETHEUS_URL", Url, true), ("METRICS_PROMETHEUS_WRITE_URL", WriteUrl, false)])
        {
            if ((isRequired || url.Length > 0) && (!Uri.TryCreate(url, UriKind.Absolute, out var address) || address.Scheme is not ("http" or "https") || address.UserInfo.Length > 0))
            {
                yield return new ValidationResult(
                    url.Length == 0
                        ? $"{name} is not set: with METRICS_STORAGE_BACKEND=prometheus it says where the engine is. Set it, for example to http://victoria-metrics:8428."
                        : $"{name} is \"{url}\": expected an http or https address without a user name in it (METRICS_PROMETHEUS_USERNAME, METRICS_PROMETHEUS_PASSWORD). Change it.");
            }
        }
    }

    /// <summary>The address of a path of its API, <c>api/v1/query</c>.</summary>
    internal Uri Address(string path) => new($"{Url.TrimEnd('/')}/{path}");

    internal Uri WriteAddress() => WriteUrl.Length > 0 ? new(WriteUrl) : Address("api/v1/write");

    internal void Identify(HttpRequestHeaders headers)
    {
        headers.Authorization = Token.Length > 0 ? new("Bearer", Token)
            : Username.Length > 0 ? new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{Username}:{Password}")))
            : null;
        if (Tenant.Length > 0)
        {
            headers.Add("X-Scope-OrgID", Tenant);
        }
    }
}
