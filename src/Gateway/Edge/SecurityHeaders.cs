using Microsoft.Net.Http.Headers;

namespace Platform.Gateway.Edge;

/// <summary>What every answer tells a browser: take the type as given, show this in no frame, load nothing, keep nothing, tell nobody where you were.</summary>
public static class SecurityHeaders
{
    public static IApplicationBuilder UseSecurityHeaders(this IApplicationBuilder app) => app.Use((context, next) =>
    {
        // At the last moment, so that they are also on answers of services and on problems.
        context.Response.OnStarting(() =>
        {
            var headers = context.Response.Headers;
            headers.XContentTypeOptions = "nosniff";
            headers.XFrameOptions = "DENY";
            headers["Referrer-Policy"] = "no-referrer";
            // The page of a service says itself what it needs, its style for example.
            var page = headers.ContentSecurityPolicy.ToString();
            headers.ContentSecurityPolicy = $"{(page.Length > 0 ? page : "default-src 'none'")}; frame-ancestors 'none'";
            headers.Remove(HeaderNames.Server);
            headers.Remove(HeaderNames.XPoweredBy);
            if (headers.CacheControl.Count == 0)
            {
                headers.CacheControl = "no-store";
            }

            if (context.Request.IsHttps)
            {
                headers.StrictTransportSecurity = "max-age=31536000; includeSubDomains";
            }

            return Task.CompletedTask;
        });
        return next(context);
    });
}
