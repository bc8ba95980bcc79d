using FsCheck;
using FsCheck.Fluent;
using Platform.Alerting.Windows;

namespace Platform.Alerting.Tests;

public sealed class EventWindowTests
{
    private static readonly Config Thorough = Config.QuickThrowOnFailure.WithMaxTest(1_000);

    [Theory]
    [InlineData(3, 10, "1 5 9", "9-11:3")]
    [InlineData(3, 10, "1 5 11", "")]
    [InlineData(3, 10, "1 5 10", "10-11:3")]
    [InlineData(3, 10, "1 5 9 10", "9-15:3")]
    [InlineData(3, 10, "9 9 9 9", "9-19:4")]
    [InlineData(3, 10, "1 5 9 30 31 32", "9-11:3 32-40:3")]
    [InlineData(3, 10, "1 5 9 11", "9-15:3")]
    [InlineData(3, 10, "1 5 9 12", "9-11:3 12-15:3")]
    [InlineData(1, 10, "5 14 40", "5-24:1 40-50:1")]
    [InlineData(2, 10, "", "")]
    public void Episodes_begin_at_the_hit_that_reaches_the_threshold_and_end_when_the_count_falls_below(int threshold, int length, string hits, string expected)
    {
        var episodes = Shape(threshold, length).EpisodesOf(Times(hits));

        Assert.Equal(expected, string.Join(' ', episodes.Select(episode => $"{episode.From}-{episode.Until}:{episode.Value}")));
    }

    [Fact]
    public void A_hit_after_the_end_ends_the_old_episode_before_a_new_one_begins()
    {
        var shape = Shape(2, 10);
        var (window, _) = EventWindow.Empty.Add([1, 2], 2, shape);

        var (_, news) = window.Add([50, 51], 51, shape);

        Assert.Equal([new WindowNews.Ended(11), new WindowNews.Began(new Episode(51, 60, 2))], news);
    }

    [Fact]
    public void Hits_inside_an_episode_prolong_it_and_say_nothing()
    {
        var shape = Shape(2, 10);
        var (window, _) = EventWindow.Empty.Add([1, 2], 2, shape);

        var (later, news) = window.Add([8], 8, shape);

        Assert.Empty(news);
        Assert.Equal(12, later.Latest!.Value.Until);
    }

    [Fact]
    public void A_late_hit_that_completes_an_older_episode_makes_it_known_beside_the_open_one()
    {
        var shape = Shape(2, 10);
        var (window, _) = EventWindow.Empty.Add([1, 50, 51], 51, shape);

        var (after, news) = window.Add([3], 51, shape);

        Assert.Equal([new WindowNews.Passed(new Episode(3, 11, 2))], news);
        Assert.True(after.Open);
        Assert.Equal(51, after.Latest!.Value.From);
    }

    [Fact]
    public void An_episode_that_was_taken_for_over_fires_again_only_when_it_is_not()
    {
        var shape = Shape(2, 10);
        var closed = new EventWindow([1, 2], new Episode(2, 11, 2), Open: false);

        Assert.Empty(closed.Add([9], 20, shape).News);
        Assert.IsType<WindowNews.Began>(Assert.Single(closed.Add([9], 10, shape).News));
    }

    [Fact]
    public void No_more_hits_are_kept_than_can_matter()
    {
        var old = EventWindow.Empty.Add([1, 2, 3, 100], 100, new WindowShape(5, 10, 20, 1000)).Window;
        var many = EventWindow.Empty.Add([.. Enumerable.Range(0, 5_000).Select(_ => new Hit(7))], 7, new WindowShape(5, 10, 20, 1000)).Window;

        Assert.Equal([new Hit(100)], old.Hits);
        Assert.Equal(1_000, many.Hits.Length);
    }

    [Fact]
    public void In_whatever_batches_hits_arrive_in_order_the_episodes_are_those_of_a_naive_count() => Prop.ForAll(Streams(), stream =>
    {
        var shape = new WindowShape(stream.Threshold, stream.Length, 5, 2 * stream.Threshold);
        var told = Tell(stream.Batches(stream.Hits.Order()), shape);

        return told.SequenceEqual(Naive(stream.Hits, shape));
    }).Check(Thorough);

    [Fact]
    public void Out_of_order_every_true_episode_is_told_and_every_told_one_is_part_of_a_true_one() => Prop.ForAll(Streams(), stream =>
    {
        var shape = new WindowShape(stream.Threshold, stream.Length, 1_000, 10_000);
        var told = Tell(stream.Batches(stream.Hits), shape);
        var truth = Naive(stream.Hits, shape);

        return truth.TrueForAll(episode => told.Exists(one => one.From >= episode.From && one.Until <= episode.Until))
            && told.TrueForAll(one => truth.Exists(episode => one.From >= episode.From && one.Until <= episode.Until));
    }).Check(Thorough);

    // What people would hear: the episodes with their ends, in the order of their beginnings.
    private static List<(long From, long Until)> Tell(IEnumerable<Hit[]> batches, WindowShape shape)
    {
        var window = EventWindow.Empty;
        var told = new List<(long From, long Until)>();
        long? open = null;
        foreach (var batch in batches)
        {
            (window, var news) = window.Add(batch, long.MinValue, shape);
            foreach (var one in news)
            {
                switch (one)
                {
                    case WindowNews.Ended ended:
                        told.Add((open!.Value, ended.Until));
                        break;
                    case WindowNews.Began began:
                        open = began.Episode.From;
                        break;
                    case WindowNews.Passed passed:
                        told.Add((passed.Episode.From, passed.Episode.Until));
                        break;
                }
            }
        }

        if (open is { } last)
        {
            told.Add((last, window.Latest!.Value.Until));
        }

        told.Sort();
        return told;
    }

    // Second by second, counting from scratch.
    private static List<(long From, long Until)> Naive(IReadOnlyCollection<int> hits, WindowShape shape)
    {
        var episodes = new List<(long From, long Until)>();
        var breaching = false;
        for (var t = 0; t <= 200; t++)
        {
            var reached = hits.Count(hit => hit > t - shape.Length && hit <= t) >= shape.Threshold;
            if (reached && !breaching)
            {
                episodes.Add((t, t));
            }

            breaching = reached;
            if (reached)
            {
                episodes[^1] = (episodes[^1].From, t + 1);
            }
        }

        return episodes;
    }

    private static Arbitrary<Stream> Streams() =>
        (from threshold in Gen.Choose(1, 5)
         from length in Gen.Choose(1, 15)
         from hits in Gen.NonEmptyListOf(Gen.Choose(0, 100))
         from size in Gen.Choose(1, 6)
         select new Stream(threshold, length, [.. hits], size)).ToArbitrary();

    private static WindowShape Shape(int threshold, int length) => new(threshold, length, 1_000, 1_000);

    private static Hit[] Times(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(hit => new Hit(long.Parse(hit, System.Globalization.CultureInfo.InvariantCulture)))];

    private sealed record Stream(int Threshold, int Length, IReadOnlyList<int> Hits, int BatchSize)
    {
        public IEnumerable<Hit[]> Batches(IEnumerable<int> hits) => hits.Select(hit => new Hit(hit)).Chunk(BatchSize);
    }
}
