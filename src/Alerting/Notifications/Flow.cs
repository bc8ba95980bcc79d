using System.ComponentModel.DataAnnotations;
using Platform.Alerting.Channels;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Notifications;

/// <summary>How a channel that does not answer is kept from taking everybody's time.</summary>
public sealed class FlowOptions
{
    /// <summary>After this many attempts in a row without an answer, a channel is left alone for a while and then tried with one notification.</summary>
    [Setting("ALERT_CIRCUIT_FAILURES"), Range(1, 1_000)]
    public int CircuitFailures { get; init; } = 5;

    /// <summary>The longest time between two such tries.</summary>
    [Setting("ALERT_CIRCUIT_LONGEST_SECONDS"), Range(1, 3_600)]
    public TimeSpan CircuitLongest { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>A channel that has something to tell, and how it fares.</summary>
/// <param name="Realm">Of the channel, not of what it tells.</param>
/// <param name="Stored">Id and version of the stored channel; null for one of settings, or one that is no longer there.</param>
/// <param name="RatePerMinute">As stored; null for the default of the kind.</param>
public sealed record ChannelQueue(
    string Realm, string Name, (Guid Id, int Version)? Stored, ChannelKind? Kind, int? RatePerMinute, double Tokens, DateTimeOffset RefilledAt, DateTimeOffset? PausedUntil, int Failures);

/// <summary>How many notifications of a channel may go now.</summary>
/// <param name="Tokens">In the bucket before they go; null where there is no limit.</param>
/// <param name="IsProbe">The one that finds out whether the receiver answers again.</param>
public sealed record Room(int Count, double? Tokens, bool IsProbe)
{
    public static readonly Room None = new(0, null, false);
}

/// <summary>What became of a channel after some answers.</summary>
/// <param name="Recovered">It had been left alone and answers again.</param>
public sealed record ChannelMood(int Failures, DateTimeOffset? PausedUntil, bool Recovered);

/// <summary>When what may go over a channel. Pure.</summary>
public static class Flow
{
    /// <param name="perMinute">0 for no limit.</param>
    /// <param name="space">How many this process can take on.</param>
    public static Room Of(ChannelQueue queue, int perMinute, int space, FlowOptions options, DateTimeOffset now)
    {
        if (space <= 0 || queue.PausedUntil > now)
        {
            return Room.None;
        }

        if (queue.Failures >= options.CircuitFailures)
        {
            return new Room(1, null, IsProbe: true);
        }

        if (perMinute == 0)
        {
            return new Room(space, null, IsProbe: false);
        }

        var tokens = Math.Min(Capacity(perMinute), queue.Tokens + perMinute * Math.Max(0, (now - queue.RefilledAt).TotalMinutes));
        return new Room(Math.Min(space, (int)tokens), tokens, IsProbe: false);
    }

    /// <summary>The most that may go at once: a sixth of a minute's worth, and a handful in any case.</summary>
    public static double Capacity(int perMinute) => Math.Max(10, perMinute / 6.0);

    /// <param name="answers">In the order in which they came.</param>
    public static ChannelMood After(int failures, DateTimeOffset? pausedUntil, IEnumerable<Answer> answers, NotificationOptions retry, FlowOptions options, DateTimeOffset now)
    {
        var recovered = false;
        foreach (var answer in answers)
        {
            if (answer.StatusCode == 429)
            {
                // The receiver lives, and wants to be left alone: all of the channel, not only this one notification.
                var wish = answer.RetryAfter ?? retry.FirstPause;
                pausedUntil = Later(pausedUntil, now + (wish < retry.LongestPause ? wish : retry.LongestPause));
            }
            else if (answer.Outcome == DeliveryOutcome.TryAgain)
            {
                failures++;
                if (failures >= options.CircuitFailures)
                {
                    var pause = retry.FirstPause * Math.Pow(2, Math.Min(failures - options.CircuitFailures, 20));
                    pausedUntil = now + (pause < options.CircuitLongest ? pause : options.CircuitLongest);
                }
            }
            else
            {
                // Also a refusal is an answer.
                if (failures >= options.CircuitFailures)
                {
                    recovered = true;
                    pausedUntil = null;
                }

                failures = 0;
            }
        }

        return new ChannelMood(failures, pausedUntil > now ? pausedUntil : null, recovered && failures == 0);
    }

    private static DateTimeOffset Later(DateTimeOffset? one, DateTimeOffset other) => one > other ? one.Value : other;
}
