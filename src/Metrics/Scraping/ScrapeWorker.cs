using System.Diagnostics.Metrics;
using Npgsql;
using Platform.Metrics.Exposition;
using Platform.Metrics.Intake;
using Platform.Postgres;
using Platform.SampleStore;
using Platform.ServiceDefaults;

namespace Platform.Metrics.Scraping;

/// <summary>What the scrapes of all targets share.</summary>
internal sealed record ScrapeTools(
    ScrapeOptions Options, ISampleStore Store, SampleCounts Counts, IHttpClientFactory Clients, TicketMint Tickets, TimeProvider Clock, SemaphoreSlim Gate, ScrapeMetrics Metrics, ILogger Logger);

/// <summary>
/// Of all replicas, one scrapes: the one that holds an advisory lock. It runs a loop per target and keeps these loops in step with the
/// configuration, which every replica reads. When it dies, another takes over within two tries and goes on in the same rhythm.
/// </summary>
public sealed partial class ScrapeWorker : BackgroundService
{
    internal const long LockNumber = 0x7363726170652d31;

    private readonly ScrapeOptions _options;
    private readonly ScrapeSources _sources;
    private readonly ScrapeTargets _targets;
    private readonly SessionLock _lock;
    private readonly TimeProvider _clock;
    private readonly ILogger<ScrapeWorker> _logger;
    private readonly ScrapeTools _tools;
    private readonly EventCounterSampler _sampler;
    private readonly Dictionary<(ScrapeJob Job, PromQL.Labels Labels, Uri Url, string? Error), (TargetScrape Scrape, Running Loop)> _running = [];
    private NpgsqlConnection? _session;
    private Running? _sampling;
    private ScrapePlan? _plan;

    internal ScrapeWorker(
        ScrapeOptions options, ScrapeSources sources, ScrapeTargets targets, SessionLock scrapeLock, ScrapeTools tools, EventCounterSampler sampler, ILogger<ScrapeWorker> logger)
    {
        (_options, _sources, _targets, _lock, _clock, _logger, _tools, _sampler) = (options, sources, targets, scrapeLock, tools.Clock, logger, tools, sampler);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!_options.Enabled || !_options.CollectionEnabled)
        {
            NotCollecting(_options.Enabled ? "METRICS_COLLECTION_ENABLED" : "METRICS_ENABLED");
            return;
        }

        try
        {
            while (!stoppingToken.IsCancellationRequested)
            {
                await TickAsync(stoppingToken);
                await Task.Delay(_options.Reload < _options.Takeover ? _options.Reload : _options.Takeover, _clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
        finally
        {
            // No stale markers: another replica, or the next start, goes on.
            await StopAllAsync();
            await GiveUpAsync();
        }
    }

    /// <summary>Looks at the files, at the lock, and at the loops that should run.</summary>
    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var plan = await _sources.ReadAsync(ct);
            if (await HoldsLockAsync(ct) && !ReferenceEquals(plan, _plan))
            {
                await AdjustAsync(plan, ct);
            }
            else if (_session is null && !ReferenceEquals(plan, _plan))
            {
                var states = plan.Targets.Select(target => new TargetScrape(target, _tools).State).ToArray();
                _targets.Replace([.. states.Select<TargetState, Func<TargetState>>(state => () => state)], plan.Dropped);
            }

            _plan = plan;
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            TickFailed(error.GetBaseException().Message);
            await StopAllAsync();
            await GiveUpAsync();
        }
    }

    private async Task<bool> HoldsLockAsync(CancellationToken ct)
    {
        if (_session is not null)
        {
            await SessionLock.ProveAsync(_session, ct);
            return true;
        }

        var session = await _lock.OpenAsync(ct);
        if (!await _lock.TryTakeAsync(session, ct))
        {
            await session.DisposeAsync();
            return false;
        }

        _session = session;
        _plan = null; // so that the loops start
        _targets.IsScraping = true;
        _sampling = Running.Start(_sampler.RunAsync);
        Scraping();
        return true;
    }

    // Loops that go on are left alone. A target whose job has changed gets a new loop that knows what was alive.
    private async Task AdjustAsync(ScrapePlan plan, CancellationToken ct)
    {
        var wanted = plan.Targets.Select(target => (target.Job, target.Labels, target.Url, target.Error)).ToHashSet();
        var gone = _running.Where(running => !wanted.Contains(running.Key)).ToArray();
        var ended = new Dictionary<(string, PromQL.Labels, Uri), TargetScrape>();
        foreach (var (key, running) in gone)
        {
            _running.Remove(key);
            await running.Loop.StopAsync();
            ended[running.Scrape.Plan.Identity] = running.Scrape;
        }

        foreach (var target in plan.Targets)
        {
            var key = (target.Job, target.Labels, target.Url, target.Error);
            if (!_running.ContainsKey(key))
            {
                ended.Remove(target.Identity, out var predecessor);
                var scrape = new TargetScrape(target, _tools, predecessor);
                _running.Add(key, (scrape, Running.Start(scrape.RunAsync)));
            }
        }

        _targets.Replace([.. plan.Targets.Select<TargetPlan, Func<TargetState>>(target =>
        {
            var scrape = _running[(target.Job, target.Labels, target.Url, target.Error)].Scrape;
            return () => scrape.State;
        })], plan.Dropped);
        Adjusted(plan.Targets.Count, plan.Dropped.Count);
        foreach (var scrape in ended.Values)
        {
            try
            {
                await scrape.EndAsync(ct);
            }
            catch (Exception error) when (!ct.IsCancellationRequested)
            {
                // Without its markers a series ends by itself, five minutes later.
                MarkersLost(scrape.Plan.Job.Name, error.GetBaseException().Message);
            }
        }
    }

    private async Task StopAllAsync()
    {
        foreach (var (_, loop) in _running.Values)
        {
            await loop.StopAsync();
        }

        _running.Clear();
        if (_sampling is { } sampling)
        {
            _sampling = null;
            await sampling.StopAsync();
        }

        _plan = null;
        _targets.IsScraping = false;
    }

    private async Task GiveUpAsync()
    {
        if (_session is { } session)
        {
            _session = null;
            await session.DisposeAsync();
        }
    }

    private sealed record Running(CancellationTokenSource Stop, Task Loop)
    {
        public static Running Start(Func<CancellationToken, Task> loop)
        {
            var stop = new CancellationTokenSource();
            return new(stop, Task.Run(() => loop(stop.Token), CancellationToken.None));
        }

        public async Task StopAsync()
        {
            await Stop.CancelAsync();
            await Loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Stop.Dispose();
        }
    }

    [LoggerMessage(LogLevel.Information, "Nothing is scraped: {Setting} is false")]
    private partial void NotCollecting(string setting);

    [LoggerMessage(LogLevel.Information, "This replica scrapes")]
    private partial void Scraping();

    [LoggerMessage(LogLevel.Information, "{Targets} targets are scraped, {Dropped} were dropped by relabelling")]
    private partial void Adjusted(int targets, int dropped);

    [LoggerMessage(LogLevel.Warning, "This replica cannot scrape just now: {Reason}")]
    private partial void TickFailed(string reason);

    [LoggerMessage(LogLevel.Warning, "The end of a target of job {Job} could not be marked: {Reason}")]
    private partial void MarkersLost(string job, string reason);
}

/// <summary>What scraping measures about itself.</summary>
public sealed class ScrapeMetrics
{
    private readonly Counter<long> _scrapes;
    private readonly Counter<long> _samples;
    private readonly Counter<long> _lost;

    public ScrapeMetrics(IMeterFactory meters, ScrapeTargets targets)
    {
        var meter = meters.Create("Platform.Metrics");
        _scrapes = meter.CreateCounter<long>("monitoring_scrapes", null, "Scrapes by how they ended.");
        _samples = meter.CreateCounter<long>("monitoring_scrape_samples", null, "Samples that scrapes brought, stale markers and the scrapes' own included.");
        _lost = meter.CreateCounter<long>("monitoring_scrapes_lost", null, "Scrapes whose samples the store did not take.");
        meter.CreateObservableGauge("monitoring_scrape_runner", () => targets.IsScraping ? 1 : 0, null, "1 on the replica that scrapes.");
    }

    public void Scraped(bool isUp, int samples)
    {
        _scrapes.Add(1, new KeyValuePair<string, object?>("result", isUp ? "up" : "down"));
        _samples.Add(samples);
    }

    public void Lost() => _lost.Add(1);
}

public static class ScrapingHosting
{
    /// <summary>Scraping of the platform's own processes and of what <c>METRICS_SCRAPE_CONFIG_FILE</c> names. Mistakes in that file stop the start.</summary>
    public static IHostApplicationBuilder AddScraping(this IHostApplicationBuilder builder, string connectionName)
    {
        var options = builder.AddSettings<ScrapeOptions>();
        var sources = new ScrapeSources(options, builder.Configuration.GetSection("services"));
        try
        {
            sources.ReadFirst();
        }
        catch (ScrapeConfigException error)
        {
            throw new SettingsException($"METRICS_SCRAPE_CONFIG_FILE is not understood.{Environment.NewLine}{error.Message}");
        }

        var connectionString = builder.Configuration.GetConnectionString(connectionName)!;
        builder.AddOutboundHttpClient(TargetFetch.Client);
        // Addresses of the platform's own graph: neither guarded nor retried, because a scrape wants to see the first failure.
        builder.Services.AddHttpClient(TargetFetch.PlatformClient).ConfigureAdditionalHttpMessageHandlers((handlers, _) => handlers.Clear());
        builder.Services.AddSingleton<ScrapeTargets>();
        builder.Services.AddSingleton<ScrapeMetrics>();
        builder.Services.AddSingleton<EventCounterSampler>();
        builder.Services.AddHostedService(services => new ScrapeWorker(
            options,
            sources.LogTo(services.GetRequiredService<ILogger<ScrapeSources>>()),
            services.GetRequiredService<ScrapeTargets>(),
            new SessionLock(connectionString, ScrapeWorker.LockNumber, "Platform.Metrics scraper"),
            new ScrapeTools(
                options,
                services.GetRequiredService<ISampleStore>(),
                services.GetRequiredService<SampleCounts>(),
                services.GetRequiredService<IHttpClientFactory>(),
                services.GetRequiredService<TicketMint>(),
                services.GetRequiredService<TimeProvider>(),
                new SemaphoreSlim(options.Concurrency),
                services.GetRequiredService<ScrapeMetrics>(),
                services.GetRequiredService<ILogger<ScrapeWorker>>()),
            services.GetRequiredService<EventCounterSampler>(),
            services.GetRequiredService<ILogger<ScrapeWorker>>()));
        return builder;
    }
}
