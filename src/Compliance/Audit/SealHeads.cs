using System.ComponentModel.DataAnnotations;
using Platform.Postgres;
using Platform.ServiceDefaults;

namespace Platform.Compliance.Audit;

public sealed class SealOptions
{
    /// <summary>Shortest time between two signatures of heads. What is appended within it and cut off before it ends leaves no trace, so keep it short.</summary>
    [Setting("COMPLIANCE_SEAL_MILLISECONDS"), Range(100, 60_000)]
    public TimeSpan Every { get; init; } = TimeSpan.FromSeconds(1);
}

/// <summary>Signs the heads of chains that grew, keeps them in the database and in the checkpoint file. Woken by each append; appends do not wait for it.</summary>
public sealed partial class SealHeads(
    SignedHeads heads, CheckpointFile file, SealOptions options, ComplianceMetrics metrics, TimeProvider clock, ILogger<SealHeads> logger) : BackgroundService
{
    private const int Batch = 1_000;

    // Looks by itself now and then: another replica may have died between its append and its signature.
    private static readonly TimeSpan Patrol = TimeSpan.FromSeconds(15);

    // Some chain may have grown.
    private readonly Signal _wake = new();

    // What this process signed and the file does not have yet; one head per realm.
    private readonly Dictionary<string, SignedHead> _unwritten = new(StringComparer.Ordinal);

    public void Wake() => _wake.Raise();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            await TickAsync(stoppingToken);
            await ((Task)_wake.WaitAsync(Patrol, stoppingToken)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await TickAsync(stoppingToken);
            await Task.Delay(options.Every, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        // The last records of an orderly stop are sealed too.
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        await TickAsync(patience.Token);
    }

    internal async Task TickAsync(CancellationToken ct)
    {
        try
        {
            var grown = await heads.ListUnsignedAsync(Batch, ct);
            foreach (var chain in grown)
            {
                var head = await heads.SignAsync(chain.Realm, chain.Seq, chain.Hash, ct);
                if (await heads.KeepAsync(head, ct) == 1 && file.IsKept)
                {
                    _unwritten[head.Realm] = head;
                }
            }

            await file.AppendAsync(_unwritten.Values, ct);
            _unwritten.Clear();
        }
        catch (Exception error) when (!ct.IsCancellationRequested)
        {
            metrics.SealingFailed();
            Failed(error);
        }
        catch (OperationCanceledException)
        {
            // Stopping; what is not sealed yet is sealed at the next start.
        }
    }

    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    [LoggerMessage(LogLevel.Error, "Signing the heads of the audit chains failed; trying again. Until it works, a cut-off end would not show")]
    private partial void Failed(Exception error);
}
