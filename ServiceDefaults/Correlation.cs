using System.Buffers;
using Microsoft.AspNetCore.Http;

namespace Platform.ServiceDefaults;

/// <summary>The id that ties together everything done for one request from outside: logs, calls, messages, audit records.</summary>
public static class Correlation
{
    /// <summary>Where the id travels in HTTP, in and out.</summary>
    public const string Header = "X-Correlation-ID";

    /// <summary>Also accepted on the way in.</summary>
    public const string RequestIdHeader = "X-Request-ID";

    /// <summary>Longest id taken from outside.</summary>
    public const int MaxLength = 128;

    private static readonly SearchValues<char> Allowed = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");
    private static readonly AsyncLocal<string?> Ambient = new();

    /// <summary>The id of the work at hand; null outside of a request or message.</summary>
    public static string? Current => Ambient.Value;

    /// <summary>Sets the id until the result is disposed: for consumers of messages and for work that a service starts itself.</summary>
    /// <param name="id">Replaced by a new one when it is missing or not valid.</param>
    public static IDisposable Use(string? id)
    {
        var scope = new Scope(Ambient.Value);
        Ambient.Value = IsValid(id) ? id : New();
        return scope;
    }

    public static string New() => Guid.CreateVersion7().ToString("N");

    public static bool IsValid(string? id) => id is { Length: > 0 and <= MaxLength } && !id.AsSpan().ContainsAnyExcept(Allowed);

    internal static string From(IHeaderDictionary headers)
    {
        string? id = headers[Header];
        string? requestId = headers[RequestIdHeader];
        return IsValid(id) ? id! : IsValid(requestId) ? requestId! : New();
    }

    private sealed class Scope(string? outer) : IDisposable
    {
        public void Dispose() => Ambient.Value = outer;
    }
}

/// <summary>Carries the id to the service that is called.</summary>
internal sealed class CorrelationHandler : DelegatingHandler
{
    protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (Correlation.Current is { } id && !request.Headers.Contains(Correlation.Header))
        {
            request.Headers.TryAddWithoutValidation(Correlation.Header, id);
        }

        return base.SendAsync(request, cancellationToken);
    }
}
