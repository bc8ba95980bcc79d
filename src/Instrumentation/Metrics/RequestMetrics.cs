using System.Diagnostics;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace Platform.Instrumentation;

/// <summary>
/// Counts every request, and measures duration and size of the share of them that <see cref="PlatformMonitoringOptions.MetricsSampleRate"/>
/// asks for. The label is the route's template: a request that no route took is <c>(none)</c>, whatever its path was.
/// </summary>
internal sealed class RequestMetrics(RequestDelegate next, PlatformMetrics metrics, PlatformMonitoringOptions options)
{
    private long _count;

    public async Task InvokeAsync(HttpContext context)
    {
        if (!options.MetricsEnabled || options.ExcludedPaths.Any(path => context.Request.Path.StartsWithSegments(path, StringComparison.OrdinalIgnoreCase)))
        {
            await next(context);
            return;
        }

        var isMeasured = IsMeasured();
        var body = isMeasured ? CountedBody.Around(context) : null;
        var authentication = new AuthenticationOutcome();
        context.Features.Set(authentication);
        var started = Stopwatch.GetTimestamp();
        var status = StatusCodes.Status500InternalServerError;
        metrics.RequestStarted();
        try
        {
            await next(context);
            status = context.Response.StatusCode;
        }
        finally
        {
            var took = Stopwatch.GetElapsedTime(started);
            var (method, endpoint) = (Method(context.Request.Method), Endpoint(context, out var counted));
            metrics.RequestEnded(method, endpoint, status);
            if (isMeasured)
            {
                metrics.RequestTook(method, endpoint, status, took, body!.Bytes);
            }

            if (authentication.Outcome is { } outcome)
            {
                metrics.Authenticated(method, endpoint, outcome, took);
            }

            if (counted is not null)
            {
                metrics.Called(counted, status switch { < 400 => Outcome.Success, 401 or 403 => Outcome.Denied, _ => Outcome.Failure });
            }
        }
    }

    // Evenly, without chance: of every ten requests three, with a rate of 0.3.
    private bool IsMeasured()
    {
        var count = Interlocked.Increment(ref _count);
        return Math.Floor(count * options.MetricsSampleRate) > Math.Floor((count - 1) * options.MetricsSampleRate);
    }

    // The exception handler takes the endpoint away from the request that failed, and keeps it.
    private static string Endpoint(HttpContext context, out string? counted)
    {
        var endpoint = context.Features.Get<IExceptionHandlerFeature>()?.Endpoint ?? context.GetEndpoint();
        counted = endpoint?.Metadata.GetMetadata<CountCallsAttribute>()?.Operation;
        return (endpoint as RouteEndpoint)?.RoutePattern.RawText ?? "(none)";
    }

    // Anybody can make up a method; a label cannot be made up.
    private static string Method(string method) =>
        HttpMethods.IsGet(method) ? "GET" : HttpMethods.IsPost(method) ? "POST" : HttpMethods.IsPut(method) ? "PUT" : HttpMethods.IsDelete(method) ? "DELETE"
        : HttpMethods.IsPatch(method) ? "PATCH" : HttpMethods.IsHead(method) ? "HEAD" : HttpMethods.IsOptions(method) ? "OPTIONS" : "OTHER";
}

/// <summary>Whether the request turned out to be one about authentication, and how that went: the first such event of the request.</summary>
internal sealed class AuthenticationOutcome
{
    public Outcome? Outcome { get; private set; }

    public void Happened(string action, Outcome outcome)
    {
        if (action is Actions.Login or Actions.Logout or Actions.MfaVerify or Actions.TokenRefresh)
        {
            Outcome ??= outcome;
        }
    }
}

/// <summary>Marks an endpoint or action whose calls are counted: <c>service_calls_total{operation, status}</c>.</summary>
/// <param name="operation">A fixed name, such as <c>export_report</c>.</param>
[AttributeUsage(AttributeTargets.Method | AttributeTargets.Class)]
public sealed class CountCallsAttribute(string operation) : Attribute
{
    public string Operation => operation;
}

/// <summary>The same as <see cref="CountCallsAttribute"/>, as a filter of endpoints and groups: it counts what gets through the filters before it.</summary>
public sealed class CountCallsFilter(string operation) : IEndpointFilter
{
    public async ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        var metrics = (PlatformMetrics)context.HttpContext.RequestServices.GetService(typeof(PlatformMetrics))!;
        try
        {
            var result = await next(context);
            var status = (Unwrap(result) as IStatusCodeHttpResult)?.StatusCode ?? StatusCodes.Status200OK;
            metrics.Called(operation, status switch { < 400 => Outcome.Success, 401 or 403 => Outcome.Denied, _ => Outcome.Failure });
            return result;
        }
        catch
        {
            metrics.Called(operation, Outcome.Failure);
            throw;
        }
    }

    private static object? Unwrap(object? result) => result is INestedHttpResult nested ? Unwrap(nested.Result) : result;
}

/// <summary>Counts the bytes of an answer on their way through, whichever way they are written.</summary>
internal sealed class CountedBody : IHttpResponseBodyFeature
{
    private readonly IHttpResponseBodyFeature _inner;
    private Counted? _stream;
    private CountedWriter? _writer;
    private long _bytes;

    private CountedBody(IHttpResponseBodyFeature inner) => _inner = inner;

    public long Bytes => Interlocked.Read(ref _bytes);

    public Stream Stream => _stream ??= new Counted(this);

    public PipeWriter Writer => _writer ??= new CountedWriter(this);

    public static CountedBody Around(HttpContext context)
    {
        var body = new CountedBody(context.Features.GetRequiredFeature<IHttpResponseBodyFeature>());
        context.Features.Set<IHttpResponseBodyFeature>(body);
        return body;
    }

    public Task CompleteAsync() => _inner.CompleteAsync();

    public void DisableBuffering() => _inner.DisableBuffering();

    public Task SendFileAsync(string path, long offset, long? count, CancellationToken cancellationToken = default)
    {
        Add(count ?? new FileInfo(path).Length - offset);
        return _inner.SendFileAsync(path, offset, count, cancellationToken);
    }

    public Task StartAsync(CancellationToken cancellationToken = default) => _inner.StartAsync(cancellationToken);

    private void Add(long bytes) => Interlocked.Add(ref _bytes, bytes);

    private sealed class Counted(CountedBody body) : Stream
    {
        private readonly Stream _inner = body._inner.Stream;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override void Flush() => _inner.Flush();

        public override Task FlushAsync(CancellationToken cancellationToken) => _inner.FlushAsync(cancellationToken);

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count)
        {
            body.Add(count);
            _inner.Write(buffer, offset, count);
        }

        public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            body.Add(buffer.Length);
            return _inner.WriteAsync(buffer, cancellationToken);
        }
    }

    private sealed class CountedWriter(CountedBody body) : PipeWriter
    {
        private readonly PipeWriter _inner = body._inner.Writer;

        public override bool CanGetUnflushedBytes => _inner.CanGetUnflushedBytes;

        public override long UnflushedBytes => _inner.UnflushedBytes;

        public override void Advance(int bytes)
        {
            body.Add(bytes);
            _inner.Advance(bytes);
        }

        public override Memory<byte> GetMemory(int sizeHint = 0) => _inner.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => _inner.GetSpan(sizeHint);

        public override void CancelPendingFlush() => _inner.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => _inner.Complete(exception);

        public override ValueTask CompleteAsync(Exception? exception = null) => _inner.CompleteAsync(exception);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default) => _inner.FlushAsync(cancellationToken);

        public override ValueTask<FlushResult> WriteAsync(ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
        {
            body.Add(source.Length);
            return _inner.WriteAsync(source, cancellationToken);
        }
    }
}
