using System.Globalization;
using Platform.Contracts;
using Platform.ServiceDefaults;

namespace Platform.Alerting.RuleGroups;

/// <summary>
/// Hears from Metrics when series that rules read got samples: one stream, open as long as the rules stay the same. What is missed while
/// it is not open is caught by the interval.
/// </summary>
public sealed partial class DataSignals(IHttpClientFactory clients, RuleGroupOptions options, TimeProvider clock, ILogger<DataSignals> logger) : IDisposable
{
    /// <summary>Of all selectors together, as far below the largest request as escaping may need.</summary>
    internal const int MostCharacters = 2_000_000;

    private const int CharactersAround = 50;
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private (RunningRule Rule, RuleWatch Watch)[] _wanted = [];
    private CancellationTokenSource _changed = new();

    /// <summary>Rules that the stream is open for; 0 while it is not.</summary>
    public int Watched { get; private set; }

    /// <summary>From now on these. More than <see cref="MostCharacters"/> of them would be refused, all together: each realm has its share, and what is beyond it waits for its interval.</summary>
    internal void Replace((RunningRule Rule, RuleWatch Watch)[] all)
    {
        var realms = all.GroupBy(one => one.Watch.Realm).ToList();
        var share = MostCharacters / Math.Max(1, realms.Count);
        (RunningRule Rule, RuleWatch Watch)[] wanted = [.. realms.SelectMany(realm => Within(realm, share))];
        if (wanted.Length < all.Length)
        {
            TooMany(all.Length - wanted.Length, MostCharacters);
        }

        if (wanted.Length == 0 && _wanted.Length == 0)
        {
            return;
        }

        Volatile.Write(ref _wanted, wanted);
        Interlocked.Exchange(ref _changed, new CancellationTokenSource()).Cancel();
    }

    internal static IEnumerable<(RunningRule Rule, RuleWatch Watch)> Within(IEnumerable<(RunningRule Rule, RuleWatch Watch)> watches, int characters) =>
        watches.TakeWhile(one => (characters -= one.Watch.Selectors.Sum(selector => selector.Length + CharactersAround)) >= 0);

    /// <param name="touched">Called after rules were marked.</param>
    public async Task RunAsync(Action touched, CancellationToken ct)
    {
        var failed = false;
        while (!ct.IsCancellationRequested)
        {
            using var until = CancellationTokenSource.CreateLinkedTokenSource(ct, Volatile.Read(ref _changed).Token);
            var wanted = Volatile.Read(ref _wanted);
            try
            {
                if (wanted.Length == 0)
                {
                    await Task.Delay(Timeout.InfiniteTimeSpan, clock, until.Token);
                }

                await HearAsync(wanted, touched, () => failed = false, until);
            }
            catch (OperationCanceledException) when (until.IsCancellationRequested && (ct.IsCancellationRequested || Volatile.Read(ref _wanted) != wanted))
            {
                // Other rules, or the end.
            }
            catch (Exception error) when (!ct.IsCancellationRequested)
            {
                if (!failed)
                {
                    NotHearing(error.GetBaseException().Message);
                }

                failed = true;
                await Task.Delay(Pause, clock, ct).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            finally
            {
                Watched = 0;
            }
        }
    }

    public void Dispose() => _changed.Dispose();

    private async Task HearAsync((RunningRule Rule, RuleWatch Watch)[] wanted, Action touched, Action opened, CancellationTokenSource until)
    {
        using var client = clients.CreateClient("metrics");
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri("internal/rules/watch", UriKind.Relative))
        {
            Content = JsonContent.Create(new RuleWatches([.. wanted.Select(one => one.Watch)], (int)options.OnDataGap.TotalMilliseconds), options: WireJson.Options),
        };
        using var answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, until.Token);
        answer.EnsureSuccessStatusCode();
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(until.Token));
        Watched = wanted.Length;
        opened();
        while (true)
        {
            // A sign of life comes every few seconds: silence means that the other end is gone without a word.
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(until.Token);
            patience.CancelAfter(Silence);
            var line = await reader.ReadLineAsync(patience.Token) ?? throw new IOException("the stream has ended");
            if (!line.StartsWith("data: ", StringComparison.Ordinal))
            {
                continue;
            }

            foreach (var place in line.AsSpan(6).Split(','))
            {
                wanted[int.Parse(line.AsSpan(6)[place], CultureInfo.InvariantCulture)].Rule.IsTouched = true;
            }

            touched();
        }
    }

    [LoggerMessage(LogLevel.Warning, "{Rules} rules are not watched, they wait for their interval: the selectors of all have more than {Limit} characters. Make fewer rules critical, or shorten their expressions")]
    private partial void TooMany(int rules, int limit);

    [LoggerMessage(LogLevel.Warning, "Not hearing of new samples, rules wait for their interval: {Reason}")]
    private partial void NotHearing(string reason);
}
