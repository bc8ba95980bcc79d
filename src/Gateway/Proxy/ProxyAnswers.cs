using Microsoft.AspNetCore.Mvc;
using Platform.ServiceDefaults;
using Yarp.ReverseProxy.Configuration;
using Yarp.ReverseProxy.Forwarder;
using Yarp.ReverseProxy.Model;

namespace Platform.Gateway.Proxy;

/// <summary>
/// Turns a forwarding that failed into a problem that names the service. What a service answered itself, problems included, passes
/// untouched. A replica that cannot be connected to is passed over.
/// </summary>
public sealed class ProxyAnswers(RequestDelegate next, IProblemDetailsService problems, ProcessOptions limits)
{
    public async Task InvokeAsync(HttpContext context)
    {
        var limit = LimitOf(context.GetReverseProxyFeature().Route.Config);
        if (context.Request.ContentLength > limit.Bytes)
        {
            await AnswerAsync(context, TooLarge(limit));
            return;
        }

        await next(context);
        await TryOthersAsync(context);

        if (context.GetForwarderErrorFeature() is { } failure && !context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            context.Response.Clear();
            await AnswerAsync(context, Describe(failure, context.GetReverseProxyFeature().Cluster.Config.ClusterId, limit));
        }
        else if (context.Response is { StatusCode: >= 400, HasStarted: false, ContentLength: 0 })
        {
            // A refusal without a word: leave room for the problem that is written for it.
            context.Response.ContentLength = null;
        }
    }

    // A replica that accepts no connection was sent nothing, so the next one may be asked whatever the method.
    private async Task TryOthersAsync(HttpContext context)
    {
        var proxy = context.GetReverseProxyFeature();
        var tried = new HashSet<DestinationState>();
        while (context.GetForwarderErrorFeature() is { Error: ForwarderError.Request } failure && IsUnreachable(failure.Exception)
            && !context.Response.HasStarted && proxy.ProxiedDestination is { } dead && tried.Add(dead))
        {
            var others = proxy.AllDestinations.Where(replica => !tried.Contains(replica)).ToList();
            if (others.Count == 0)
            {
                return;
            }

            proxy.AvailableDestinations = others;
            context.Response.Clear();
            context.Features.Set<IForwarderErrorFeature>(null);
            await next(context);
        }
    }

    internal static ProblemDetails Describe(IForwarderErrorFeature failure, string service, (long Bytes, string Setting) limit) => failure.Error switch
    {
        _ when BadRequest(failure.Exception) is { StatusCode: StatusCodes.Status413PayloadTooLarge } => TooLarge(limit),
        _ when BadRequest(failure.Exception) is { } bad => new() { Status = bad.StatusCode, Detail = bad.Message },
        ForwarderError.RequestBodyClient => new() { Status = 400, Detail = "The request's body ended early." },
        ForwarderError.RequestTimedOut or ForwarderError.RequestBodyCanceled or ForwarderError.ResponseBodyCanceled or ForwarderError.UpgradeActivityTimeout => new()
        {
            Status = StatusCodes.Status504GatewayTimeout,
            Detail = $"The service \"{service}\" did not answer in time. Whether it did what was asked is not known. GATEWAY_PROXY_TIMEOUT_SECONDS sets the limit.",
        },
        ForwarderError.NoAvailableDestinations => Down(service),
        ForwarderError.Request when IsUnreachable(failure.Exception) => Down(service),
        _ => new()
        {
            Status = StatusCodes.Status502BadGateway,
            Detail = $"The connection to the service \"{service}\" broke before it had answered. Whether it did what was asked is not known.",
        },
    };

    private static ProblemDetails Down(string service) => new()
    {
        Status = StatusCodes.Status503ServiceUnavailable,
        Detail = $"The service \"{service}\" cannot be reached. Nothing was sent; try again in a few seconds.",
        Extensions = { ["service"] = service },
    };

    private (long Bytes, string Setting) LimitOf(RouteConfig route) =>
        route.MaxRequestBodySize is { } own ? (own, "METRICS_INTAKE_MAX_REQUEST_BYTES") : (limits.MaxRequestBytes, "PLATFORM_MAX_REQUEST_BYTES");

    private static ProblemDetails TooLarge((long Bytes, string Setting) limit) => new()
    {
        Status = StatusCodes.Status413PayloadTooLarge,
        Detail = $"The body is larger than {limit.Bytes} bytes ({limit.Setting}). Send the data in several requests.",
    };

    // Nothing was sent: there was no connection to send it on.
    private static bool IsUnreachable(Exception? error) => error switch
    {
        null => false,
        HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError } => true,
        _ => IsUnreachable(error.InnerException),
    };

    private static BadHttpRequestException? BadRequest(Exception? error) => error switch
    {
        null => null,
        BadHttpRequestException bad => bad,
        AggregateException several => several.InnerExceptions.Select(BadRequest).FirstOrDefault(bad => bad is not null),
        _ => BadRequest(error.InnerException),
    };

    private Task AnswerAsync(HttpContext context, ProblemDetails problem)
    {
        context.Response.StatusCode = problem.Status!.Value;
        if (problem.Status == StatusCodes.Status503ServiceUnavailable)
        {
            context.Response.Headers.RetryAfter = "5";
        }

        return problems.WriteAsync(new ProblemDetailsContext { HttpContext = context, ProblemDetails = problem }).AsTask();
    }
}
