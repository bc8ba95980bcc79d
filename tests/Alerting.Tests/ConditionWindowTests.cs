using FsCheck;
using FsCheck.Fluent;
using Platform.Alerting.Rules;
using Platform.Alerting.Windows;

namespace Platform.Alerting.Tests;

/// <summary>
/// Every condition against a count from scratch, second by second: the same hits make the same episodes, however they are batched. In these
/// tests a unit of time is a second, and the numbers of hits are small, so that they meet often.
/// </summary>
public sealed class ConditionWindowTests
{
    private const int Second = 1_000_000;
    private const int Patience = 40;
    private static readonly Config Thorough = Config.QuickThrowOnFailure.WithMaxTest(1_000);
    private static readonly Dictionary<string, int> None = [];
    private static readonly RuleMatch Any = new(null, "s", null, new Dictionary<string, string>());

    [Fact]
    public void Distinct_values_in_order() => InOrder(Distinct(limited: false));

    [Fact]
    public void Distinct_values_in_any_order() => InAnyOrder(Distinct(limited: false));

    [Fact]
    public void Distinct_values_without_those_that_too_many_share_in_order() => InOrder(Distinct(limited: true));

    [Fact]
    public void Distinct_values_without_those_that_too_many_share_end_the_same_in_any_order() => EndsTheSame(Distinct(limited: true));

    [Fact]
    public void A_ratio_in_order() => InOrder(Ratio());

    [Fact]
    public void A_ratio_ends_the_same_in_any_order() => EndsTheSame(Ratio());

    [Fact]
    public void A_sequence_in_order() => InOrder(Sequence());

    [Fact]
    public void A_sequence_in_any_order() => InAnyOrder(Sequence());

    [Fact]
    public void Travel_in_order() => InOrder(Travel());

    [Fact]
    public void Travel_in_any_order() => InAnyOrder(Travel());

    [Fact]
    public void Absence_in_order() => InOrder(Absence());

    [Fact]
    public void A_count_ends_the_same_in_any_order() => EndsTheSame(
        (from threshold in Gen.Choose(1, 5) from case_ in Hits(Gen.Constant(0), Gen.Constant(0)) select case_ with { Threshold = threshold, Holds = (hits, t) => Within(hits, t, case_.Length).Count() >= threshold }).ToArbitrary());

    [Fact]
    public void Values_that_too_many_share_come_back_when_their_hits_have_left()
    {
        var shape = Shape(new Condition.Distinct(new Dictionary<string, int> { ["tags.user_id"] = 2 }, new Dictionary<string, int> { ["tags.user_id"] = 1 }), threshold: 2, length: 10);

        // Twice the first user: only the second counts. At 12 the first try of the first user has left, and the third user comes.
        Assert.Equal(["12-14"], Episodes(shape, (1, 1, 0), (4, 1, 0), (5, 2, 0), (12, 3, 0), (14, 3, 0)).Select(one => $"{one.From}-{one.Until}"));
    }

    [Fact]
    public void A_ratio_needs_its_minimum()
    {
        var shape = Shape(new Condition.Ratio(Any, 0.5, 4), threshold: 1, length: 10);

        Assert.Empty(Episodes(shape, (1, 1, 1), (2, 1, 1), (3, 1, 1)));
        Assert.Equal([(4, 11, 0.75)], Episodes(shape, (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 0)).Select(one => (one.From, one.Until, one.Value)));
    }

    [Fact]
    public void A_step_of_a_sequence_does_not_follow_what_is_too_old_or_too_little()
    {
        var shape = Shape(new Condition.Sequence(Any, [], 2, 5), threshold: 1, length: 10);

        Assert.Equal(["9-19"], Episodes(shape, (1, 0, 0), (4, 0, 0), (9, 1, 0)).Select(one => $"{one.From}-{one.Until}"));
        Assert.Empty(Episodes(shape, (1, 0, 0), (4, 0, 0), (14, 1, 0)));
        Assert.Empty(Episodes(shape, (1, 0, 0), (6, 0, 0), (9, 1, 0)));
        Assert.Empty(Episodes(shape, (3, 1, 0), (1, 0, 0), (4, 0, 0)));
    }

    [Theory]
    [InlineData(52.52, 13.405, 48.857, 2.352, 878)] // Berlin, Paris
    [InlineData(51.507, -0.128, 40.713, -74.006, 5570)] // London, New York
    [InlineData(-33.869, 151.209, 35.676, 139.65, 7823)] // Sydney, Tokyo
    [InlineData(0, 179.9, 0, -179.9, 22)] // across the date line
    [InlineData(90, 0, -90, 0, 20_015)] // pole to pole
    public void Distances_are_those_of_the_globe(double north, double east, double otherNorth, double otherEast, double kilometres)
    {
        var (one, other) = (Place(north, east), Place(otherNorth, otherEast));

        Assert.Equal(kilometres, Journey.Kilometres(one, other), tolerance: 0.005 * kilometres + 1);
        Assert.Equal(0, Journey.Kilometres(one, one));
    }

    [Fact]
    public void What_is_no_place_is_none() =>
        Assert.All([("91", "0"), ("0", "181"), ("north", "0"), (null, "0"), ("NaN", "0"), ("Infinity", "0")], place => Assert.Null(Journey.Place(place.Item1, place.Item2)));

    [Fact]
    public void Thinned_hits_have_the_same_silences() => Prop.ForAll(Absence(), given =>
    {
        var hits = given.Hits.Select(hit => hit with { At = hit.At * Second }).Order(Comparer<Hit>.Create(Hit.InOrder)).ToArray();
        var half = hits.Length / 2;
        var thinned = given.Shape.Compact([.. given.Shape.Compact(hits[..half]), .. hits[half..]]);

        return given.Shape.EpisodesOf(thinned).SequenceEqual(given.Shape.EpisodesOf(hits));
    }).Check(Thorough);

    private static Hit Place(double north, double east) =>
        Journey.Place(north.ToString(System.Globalization.CultureInfo.InvariantCulture), east.ToString(System.Globalization.CultureInfo.InvariantCulture)) is { } place ? new Hit(0, place.Latitude, place.Longitude) : throw new ArgumentException("no place");

    // In order, in whatever batches, with as little memory as the lateness allows.
    private static void InOrder(Arbitrary<Case> cases) => Prop.ForAll(cases, given =>
    {
        var shape = given.Shape with { Lateness = 5 * Second };
        var batches = given.Hits.GroupBy(hit => hit.At).OrderBy(moment => moment.Key).Chunk(given.BatchSize).Select(moments => moments.SelectMany(moment => moment));

        return Tell(batches, shape).SequenceEqual(given.Naive()) && Tell([given.Hits], shape with { Lateness = 1_000L * Second }).SequenceEqual(given.Naive());
    }).Check(Thorough);

    // For conditions that a further hit never makes untrue.
    private static void InAnyOrder(Arbitrary<Case> cases) => Prop.ForAll(cases, given =>
    {
        var told = Tell(given.Hits.Chunk(given.BatchSize), given.Shape);
        var truth = given.Naive();

        return truth.TrueForAll(episode => told.Exists(one => one.From >= episode.From && one.Until <= episode.Until))
            && told.TrueForAll(one => truth.Exists(episode => one.From >= episode.From && one.Until <= episode.Until));
    }).Check(Thorough);

    // For the others: what is open in the end is what is true, however many detours the hits took.
    private static void EndsTheSame(Arbitrary<Case> cases) => Prop.ForAll(cases, given =>
    {
        var window = EventWindow.Empty;
        foreach (var batch in given.Hits.Chunk(given.BatchSize))
        {
            (window, _) = window.Add([.. batch.Select(hit => hit with { At = hit.At * Second })], long.MinValue, given.Shape);
        }

        var end = given.Hits.Max(hit => hit.At);
        var truth = given.Naive().FindAll(episode => episode.From <= end && end < episode.Until).ConvertAll(episode => episode.Until);
        List<long> told = window is { Open: true, Latest: { } latest } && latest.Contains(end * Second) ? [latest.Until / Second] : [];
        return told.SequenceEqual(truth);
    }).Check(Thorough);

    // What people would hear: the episodes with their ends, in the order of their beginnings, in seconds.
    private static List<(long From, long Until)> Tell(IEnumerable<IEnumerable<Hit>> batches, WindowShape shape)
    {
        var window = EventWindow.Empty;
        var told = new List<(long From, long Until)>();
        long? open = null;
        foreach (var batch in batches)
        {
            (window, var news) = window.Add([.. batch.Select(hit => hit with { At = hit.At * Second })], long.MinValue, shape);
            foreach (var one in news)
            {
                switch (one)
                {
                    case WindowNews.Ended ended:
                        told.Add((open!.Value / Second, ended.Until / Second));
                        break;
                    case WindowNews.Began began:
                        open = began.Episode.From;
                        break;
                    case WindowNews.Passed passed:
                        told.Add((passed.Episode.From / Second, passed.Episode.Until / Second));
                        break;
                }
            }
        }

        if (open is { } last)
        {
            told.Add((last / Second, window.Latest!.Value.Until / Second));
        }

        told.Sort();
        return told;
    }

    private static Arbitrary<Case> Distinct(bool limited) =>
        (from threshold in Gen.Choose(1, 4)
         from users in Gen.Choose(1, 4)
         from addresses in Gen.Choose(0, 2)
         from most in Gen.Choose(1, 3)
         from given in Hits(Gen.Choose(0, 5), Gen.Choose(0, 3))
         let condition = new Condition.Distinct(
             addresses == 0 ? new Dictionary<string, int> { ["tags.a"] = users } : new Dictionary<string, int> { ["tags.a"] = users, ["tags.b"] = addresses },
             limited ? new Dictionary<string, int> { ["tags.a"] = most } : None)
         select given with
         {
             Threshold = threshold,
             Condition = condition,
             Holds = (hits, t) =>
             {
                 var all = Within(hits, t, given.Length).ToList();
                 var counted = limited ? all.FindAll(hit => hit.A != 0 && all.Count(other => other.A == hit.A) <= most) : all;
                 return counted.Count >= threshold
                     && counted.Where(hit => hit.A != 0).Select(hit => hit.A).Distinct().Count() >= users
                     && counted.Where(hit => hit.B != 0).Select(hit => hit.B).Distinct().Count() >= addresses;
             },
         }).ToArbitrary();

    private static Arbitrary<Case> Ratio() =>
        (from tenths in Gen.Choose(1, 10)
         from minimum in Gen.Choose(1, 6)
         from given in Hits(Gen.Constant(1), Gen.Choose(0, 1))
         select given with
         {
             Condition = new Condition.Ratio(Any, tenths / 10.0, minimum),
             Holds = (hits, t) => Within(hits, t, given.Length).ToList() is var all && all.Count >= minimum && all.Count(hit => hit.B == 1) >= tenths / 10.0 * all.Count,
         }).ToArbitrary();

    private static Arbitrary<Case> Sequence() =>
        (from count in Gen.Choose(1, 3)
         from within in Gen.Choose(1, 10)
         from given in Hits(Gen.Choose(0, 1), Gen.Constant(0))
         select given with
         {
             Condition = new Condition.Sequence(Any, [], count, within),
             Holds = (hits, t) => Within(hits, t, given.Length).Any(second => second.A == 1 && Within(hits, second.At, given.Length).Any(last =>
                 last.A == 0 && Within(hits, last.At, within).Count(first => first.A == 0) >= count)),
         }).ToArbitrary();

    private static Arbitrary<Case> Travel() =>
        (from given in Hits(Gen.Choose(0, 3).Select(place => place * 3_000), Gen.Choose(0, 2).Select(place => place * 4_000))
         select given with
         {
             // Places are up to 1.4 km apart, a kilometre a second is 3600 km/h.
             Condition = new Condition.Travel(0.4, 250, []),
             Holds = (hits, t) => Within(hits, t, given.Length).Any(here => hits.Any(there =>
                 there.At <= here.At && here.At - there.At < given.Length && Journey.Kilometres(here, there) is var way && way >= 0.4
                 && (there.At == here.At || way / ((here.At - there.At) / 3600.0) >= 250))),
         }).ToArbitrary();

    private static Arbitrary<Case> Absence() =>
        (from given in Hits(Gen.Constant(0), Gen.Constant(0))
         select given with
         {
             Condition = new Condition.Absence(false),
             Holds = (hits, t) => hits.Any(hit => hit.At > t) && hits.Where(hit => hit.At <= t).Select(hit => hit.At).DefaultIfEmpty(t).Max() is var last
                 && t - last >= given.Length && t - last < given.Length + Patience,
             BeginsAtHits = false,
         }).ToArbitrary();

    private static Gen<Case> Hits(Gen<int> a, Gen<int> b) =>
        from length in Gen.Choose(1, 15)
        from hits in Gen.NonEmptyListOf(from at in Gen.Choose(0, 100) from one in a from other in b select new Hit(at, one, other))
        from size in Gen.Choose(1, 6)
        select new Case([.. hits], length, size);

    private static IEnumerable<Hit> Within(IEnumerable<Hit> hits, long t, long length) => hits.Where(hit => hit.At > t - length && hit.At <= t);

    private static WindowShape Shape(Condition condition, int threshold, int length) => new(threshold, length * Second, 1_000L * Second, 10_000, condition, Patience * Second);

    private static List<Episode> Episodes(WindowShape shape, params (int At, long A, long B)[] hits) =>
        shape.EpisodesOf([.. hits.Select(hit => new Hit(hit.At * Second, hit.A, hit.B)).Order(Comparer<Hit>.Create(Hit.InOrder))])
            .ConvertAll(episode => new Episode(episode.From / Second, episode.Until / Second, episode.Value));

    private sealed record Case(IReadOnlyList<Hit> Hits, int Length, int BatchSize)
    {
        public int Threshold { get; init; } = 1;

        public Condition? Condition { get; init; }

        public Func<IReadOnlyList<Hit>, long, bool> Holds { get; init; } = (_, _) => false;

        public bool BeginsAtHits { get; init; } = true;

        // Everything that it takes to see a failure again.
        public override string ToString() => $"{Condition?.Text} threshold {Threshold} length {Length} batches of {BatchSize}: {string.Join(' ', Hits.Select(hit => $"{hit.At}:{hit.A},{hit.B}"))} naive {string.Join(' ', Naive())}";

        public WindowShape Shape => new(Threshold, Length * Second, 1_000L * Second, 10_000, Condition, Patience * Second);

        // Second by second, counting from scratch.
        public List<(long From, long Until)> Naive()
        {
            var episodes = new List<(long From, long Until)>();
            var inside = false;
            for (var t = 0; t <= 200; t++)
            {
                var holds = Holds(Hits, t);
                if (holds && !inside && (!BeginsAtHits || Hits.Any(hit => hit.At == t)))
                {
                    episodes.Add((t, t));
                    inside = true;
                }

                inside = inside && holds;
                if (inside)
                {
                    episodes[^1] = (episodes[^1].From, t + 1);
                }
            }

            return episodes;
        }
    }
}
