using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Platform.Testing;

namespace Platform.Instrumentation.Tests;

public sealed class ShippingTests
{
    [Fact]
    public async Task Events_arrive_in_order_as_json_arrays_with_key_and_idempotency_key()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(new Uri(gateway.Url, "/behind/a/prefix"), options => options.BatchEvents = 10);

        Record(app, 0, 25);

        await Eventually.TrueAsync(() => gateway.Events.Count == 25, because: "25 events arrive");
        Assert.Equal(Numbers(0, 25), gateway.Events.Select(happened => happened.Tag("number")));
        Assert.All(gateway.Requests, request =>
        {
            Assert.Equal("/behind/a/prefix/api/v1/monitoring/events", request.Path);
            Assert.Equal("Bearer key-of-the-test", request.Authorization);
            Assert.True(Guid.TryParse(request.Key, out _));
            Assert.InRange(request.Events.Count, 1, 10);
        });
        Assert.Equal(gateway.Requests.Count, gateway.Requests.Select(request => request.Key).Distinct().Count());
    }

    [Fact]
    public async Task A_batch_answered_500_is_sent_again_with_the_same_idempotency_key()
    {
        await using var gateway = await PlayedGateway.StartAsync((_, before) => before < 2 ? Results.StatusCode(500) : PlayedGateway.Created);
        await using var app = await MonitoredApp.StartAsync(gateway.Url);

        Record(app, 0, 1);

        await Eventually.TrueAsync(() => gateway.Requests.Count == 3, because: "the batch is tried a third time");
        Assert.Single(gateway.Requests.Select(request => request.Key).Distinct());
        Assert.All(gateway.Requests, request => Assert.Equal("0", Assert.Single(request.Events).Tag("number")));
        Assert.Equal(0, app.Buffer.Dropped);
    }

    [Fact]
    public async Task Retry_After_is_honoured()
    {
        await using var gateway = await PlayedGateway.StartAsync((_, before) => before == 0 ? new TooManyRequests(2) : PlayedGateway.Created);
        await using var app = await MonitoredApp.StartAsync(gateway.Url);

        Record(app, 0, 1);

        await Eventually.TrueAsync(() => gateway.Requests.Count == 2, because: "the batch is tried again");
        // Timers may be a few milliseconds early; the usual pause would be 0.2 s.
        Assert.InRange(Stopwatch.GetElapsedTime(gateway.Requests[0].At, gateway.Requests[1].At), TimeSpan.FromSeconds(1.9), TimeSpan.FromSeconds(30));
        Assert.Equal(gateway.Requests[0].Key, gateway.Requests[1].Key);
    }

    [Fact]
    public async Task Events_wait_while_nothing_listens_and_arrive_when_the_gateway_comes_up()
    {
        var port = FreePort();
        await using var app = await MonitoredApp.StartAsync(new Uri($"http://127.0.0.1:{port}"), options =>
        {
            options.BatchEvents = 10;
            options.MaxRetryDelay = TimeSpan.FromMilliseconds(300);
        });
        Record(app, 0, 30);
        await Eventually.TrueAsync(() => app.Buffer.Waiting == 20, because: "one batch is under way and the rest waits");

        await using var gateway = await PlayedGateway.StartAsync((_, _) => PlayedGateway.Created, port);

        await Eventually.TrueAsync(() => gateway.Events.Count == 30, because: "all events arrive");
        Assert.Equal(Numbers(0, 30), gateway.Events.Select(happened => happened.Tag("number")));
        Assert.Equal(0, app.Buffer.Dropped);
    }

    [Fact]
    public async Task What_does_not_fit_is_dropped_counted_and_told_to_the_platform()
    {
        var open = new TaskCompletionSource();
        await using var gateway = await PlayedGateway.StartAsync(async (_, _) =>
        {
            await open.Task;
            return PlayedGateway.Created;
        });
        long counted = 0;
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options =>
        {
            options.BufferEvents = 5;
            options.BatchEvents = 1;
        });
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, listening) =>
            {
                if (instrument.Name == "platform_monitoring_events_dropped_total")
                {
                    listening.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
        {
            // The meter of another test's application carries the same name; only ours measures this reason this often.
            if (tags.Contains(new("reason", "buffer_full")))
            {
                Interlocked.Add(ref counted, value);
            }
        });
        listener.Start();
        Record(app, 0, 1);
        await Eventually.TrueAsync(() => gateway.Requests.Count == 1, because: "the first event is under way");

        Record(app, 1, 12);

        Assert.Equal(7, app.Buffer.Dropped);
        Assert.True(Interlocked.Read(ref counted) >= 7);
        open.SetResult();
        await Eventually.TrueAsync(() => gateway.Events.Count == 7, because: "what fitted arrives, and one event about the rest");
        var told = Assert.Single(gateway.Events, happened => happened.Tag("action") == "events_dropped");
        Assert.Equal("7", told.Tag("dropped"));
        Assert.Equal(Numbers(0, 6), gateway.Events.Select(happened => happened.Tag("number")).OfType<string>());
    }

    [Fact]
    public async Task Waiting_events_are_bounded_in_bytes_too()
    {
        await using var app = await MonitoredApp.StartAsync(new Uri($"http://127.0.0.1:{FreePort()}"), options =>
        {
            options.BufferBytes = 50_000;
            options.BatchEvents = 1;
            options.FlushOnStop = TimeSpan.Zero;
        });

        for (var i = 0; i < 100; i++)
        {
            app.Events.Record("export", Outcome.Success, "Exported", payload: new Dictionary<string, object?> { ["rows"] = new string('x', 10_000) });
        }

        // Four of about 10,100 bytes fit; the reader may have taken one or two out meanwhile.
        Assert.InRange(app.Buffer.Dropped, 94, 96);
    }

    [Fact]
    public async Task A_request_never_waits_for_the_gateway()
    {
        var never = new TaskCompletionSource();
        await using var gateway = await PlayedGateway.StartAsync(async (_, _) =>
        {
            await never.Task;
            return PlayedGateway.Created;
        });
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.BufferEvents = 100, web => web.MapGet("/work", (SecurityLog security) =>
        {
            for (var i = 0; i < 1_000; i++)
            {
                security.Login("anna", Outcome.Success);
            }

            return "done";
        }));

        var answer = await app.Http.GetStringAsync(new Uri("/work", UriKind.Relative), TestContext.Current.CancellationToken);

        // The gateway has not answered anything yet, and a tenth of the events fits.
        Assert.Equal("done", answer);
        Assert.True(app.Buffer.Dropped > 0);
        never.SetResult();
    }

    [Fact]
    public async Task Of_a_refused_batch_only_the_event_that_the_problem_names_is_lost()
    {
        await using var gateway = await PlayedGateway.StartAsync((request, _) =>
        {
            var bad = request.Events.ToList().FindIndex(happened => happened.Tag("number") == "3");
            return bad < 0 ? PlayedGateway.Created : Results.Problem(statusCode: 400, extensions: new Dictionary<string, object?> { ["errors"] = new Dictionary<string, string[]> { [$"[{bad}].level"] = ["unknown"] } });
        });
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.FlushInterval = TimeSpan.FromMilliseconds(300));

        Record(app, 0, 6);

        await Eventually.TrueAsync(() => gateway.Requests.Count == 2, because: "the rest is sent again");
        Assert.Equal(["0", "1", "2", "4", "5"], gateway.Requests[1].Events.Select(happened => happened.Tag("number")));
        Assert.NotEqual(gateway.Requests[0].Key, gateway.Requests[1].Key);
        await Eventually.TrueAsync(() => app.Buffer.Dropped == 1, because: "the lost event is counted");
    }

    [Fact]
    public async Task A_refused_batch_that_names_nobody_is_dropped_counted_and_does_not_hold_up_the_next()
    {
        await using var gateway = await PlayedGateway.StartAsync((_, before) => before == 0 ? Results.Problem("no", statusCode: 400) : PlayedGateway.Created);
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.BatchEvents = 2);

        Record(app, 0, 2);
        await Eventually.TrueAsync(() => app.Buffer.Dropped == 2, because: "the refused events are counted");
        Record(app, 2, 1);

        await Eventually.TrueAsync(() => gateway.Requests.Count == 2, because: "the next event arrives");
        Assert.Equal("2", gateway.Requests[1].Events[0].Tag("number"));
        Assert.Equal("2", gateway.Requests[1].Events[1].Tag("dropped"));
    }

    [Fact]
    public async Task A_batch_that_is_too_large_is_halved_until_it_fits()
    {
        await using var gateway = await PlayedGateway.StartAsync((request, _) => request.Events.Count > 2 ? Results.StatusCode(413) : PlayedGateway.Created);
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.FlushInterval = TimeSpan.FromMilliseconds(300));

        Record(app, 0, 8);

        await Eventually.TrueAsync(() => gateway.Requests.Where(request => request.Events.Count <= 2).Sum(request => request.Events.Count) == 8, because: "all events arrive in small batches");
        Assert.Equal(Numbers(0, 8), gateway.Requests.Where(request => request.Events.Count <= 2).SelectMany(request => request.Events).Select(happened => happened.Tag("number")));
        Assert.Equal(0, app.Buffer.Dropped);
    }

    [Theory]
    [InlineData(401)]
    [InlineData(403)]
    [InlineData(404)]
    [InlineData(200)]
    public async Task A_wrong_key_or_address_loses_nothing_while_somebody_repairs_it(int status)
    {
        await using var gateway = await PlayedGateway.StartAsync((_, before) => before == 0 ? Results.StatusCode(status) : PlayedGateway.Created);
        await using var app = await MonitoredApp.StartAsync(gateway.Url);

        Record(app, 0, 1);

        await Eventually.TrueAsync(() => gateway.Requests.Count == 2, because: "the event is sent again");
        Assert.Equal(0, app.Buffer.Dropped);
    }

    [Fact]
    public async Task The_end_of_the_application_sends_what_still_waits()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options => options.FlushInterval = TimeSpan.FromMinutes(1));
        Record(app, 0, 1_200);

        await app.StopAsync();

        Assert.Equal(1_200, gateway.Events.Count);
    }

    [Fact]
    public async Task The_end_of_the_application_does_not_wait_forever_for_a_gateway_that_is_away()
    {
        await using var app = await MonitoredApp.StartAsync(new Uri($"http://127.0.0.1:{FreePort()}"), options =>
        {
            options.BatchEvents = 10;
            options.FlushOnStop = TimeSpan.FromMilliseconds(500);
        });
        Record(app, 0, 25);
        var started = Stopwatch.GetTimestamp();

        await app.StopAsync();

        Assert.InRange(Stopwatch.GetElapsedTime(started), TimeSpan.FromMilliseconds(400), TimeSpan.FromSeconds(20));
        Assert.Equal(25, app.Buffer.Dropped);
    }

    [Fact]
    public async Task An_event_larger_than_the_platform_takes_is_dropped_before_it_is_sent()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url);

        app.Events.Record("export_all", Outcome.Success, "Exported", payload: new Dictionary<string, object?> { ["rows"] = new string('x', 70_000) });
        Record(app, 0, 1);

        await Eventually.TrueAsync(() => gateway.Events.Any(happened => happened.Tag("number") == "0"), because: "the small event arrives");
        Assert.Equal(1, app.Buffer.Dropped);
        Assert.DoesNotContain(gateway.Events, happened => happened.Tag("action") == "export_all");
    }

    [Fact]
    public async Task Switched_off_nothing_is_kept_and_nothing_is_sent()
    {
        await using var gateway = await PlayedGateway.StartAsync();
        await using var app = await MonitoredApp.StartAsync(gateway.Url, options =>
        {
            options.Enabled = false;
            options.ApiKey = null;
        });

        Record(app, 0, 10);
        await app.StopAsync();

        Assert.Equal((0, 0L, 0), (app.Buffer.Waiting, app.Buffer.Dropped, gateway.Requests.Count));
    }

    private static void Record(MonitoredApp app, int first, int count)
    {
        for (var number = first; number < first + count; number++)
        {
            app.Events.Record("export", Outcome.Success, "Exported", new() { ["number"] = number });
        }
    }

    private static IEnumerable<string> Numbers(int first, int count) => Enumerable.Range(first, count).Select(number => $"{number}");

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private sealed class TooManyRequests(int seconds) : IResult
    {
        public Task ExecuteAsync(HttpContext httpContext)
        {
            httpContext.Response.StatusCode = 429;
            httpContext.Response.Headers.RetryAfter = $"{seconds}";
            return Task.CompletedTask;
        }
    }
}
