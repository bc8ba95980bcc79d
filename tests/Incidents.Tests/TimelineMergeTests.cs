using Platform.Incidents.Timeline;

namespace Platform.Incidents.Tests;

public sealed class TimelineMergeTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);

    // Few distinct times, so that most entries share theirs with others: ties are where paging goes wrong.
    [Fact]
    public void Pages_of_every_size_give_each_entry_once_and_in_order()
    {
        for (var seed = 0; seed < 300; seed++)
        {
            var random = new Random(seed);
            var descending = seed % 2 == 1;
            var local = Entries(random, random.Next(0, 30), EntryKind.Health, EntryKind.Alert, EntryKind.Audit);
            var events = Entries(random, random.Next(0, 60), EntryKind.Event);
            var limit = random.Next(1, 12);

            var read = new List<Guid>();
            TimelinePosition? after = null;
            for (var more = true; more;)
            {
                // Metrics is read in steps that have nothing to do with the size of a page.
                (var page, more) = TimelineMerge.Merge([Read(local, after, descending, limit + 1), Read(events, after, descending, random.Next(1, 2 * limit + 2))], descending, limit);
                Assert.True(page.Count > 0 || !more, "A page without entries must be the last: otherwise reading stands still.");
                read.AddRange(page.Select(entry => entry.Id));
                after = page.Count > 0 ? page[^1].Position : after;
            }

            Assert.Equal(Ordered([.. local, .. events], descending).Select(entry => entry.Id), read);
        }
    }

    [Fact]
    public void A_source_that_was_not_read_far_enough_holds_the_others_back()
    {
        var late = Entry(Noon.AddMinutes(9), EntryKind.Alert, 1);
        var unread = new Stretch([Entry(Noon, EntryKind.Event, 2)], Complete: false) { Horizon = new(Noon, EntryKind.Event, Id(2)) };

        var (entries, more) = TimelineMerge.Merge([new Stretch([late], Complete: true), unread], descending: false, limit: 10);

        Assert.Equal([Id(2)], entries.Select(entry => entry.Id));
        Assert.True(more);
    }

    [Fact]
    public void The_event_comes_before_the_alert_of_the_same_instant()
    {
        var alert = Entry(Noon, EntryKind.Alert, 1);
        var reason = Entry(Noon, EntryKind.Event, 2);

        var (entries, _) = TimelineMerge.Merge([new Stretch([alert], Complete: true), new Stretch([reason], Complete: true)], descending: false, limit: 10);

        Assert.Equal([EntryKind.Event, EntryKind.Alert], entries.Select(entry => entry.Kind));
    }

    [Fact]
    public void A_cursor_says_the_same_after_its_journey_and_belongs_to_one_query()
    {
        var query = new TimelineQuery(Descending: true, EventChoice.All, [EntryKind.Event, EntryKind.Alert]);
        var cursor = new TimelineCursor(query.Signature, Noon, new(Noon.AddSeconds(1), EntryKind.Alert, Id(7)), "abc");

        Assert.Equal(cursor, TimelineCursor.Parse(cursor.ToString(), query));
        Assert.Null(TimelineCursor.Parse(cursor.ToString(), query with { Descending = false }));
        Assert.Null(TimelineCursor.Parse(cursor.ToString(), query with { Kinds = [EntryKind.Event] }));
    }

    [Theory]
    [InlineData("")]
    [InlineData("!!!!")]
    [InlineData("bm90IGpzb24")]
    [InlineData("bnVsbA")]
    [InlineData("e30")]
    [InlineData("eyJRIjoiYXNjLjAuMDEyMzQ1IiwiVSI6LTV9")]
    public void Anything_else_is_no_cursor(string text) =>
        Assert.Null(TimelineCursor.Parse(text, new(Descending: false, EventChoice.Related, Enum.GetValues<EntryKind>())));

    private static Stretch Read(List<TimelineEntry> source, TimelinePosition? after, bool descending, int most)
    {
        var rest = Ordered(source, descending).Where(entry => after is not { } place || TimelineMerge.Before(place, entry.Position, descending)).ToList();
        var page = rest.Take(most).ToList();
        return new Stretch(page, Complete: page.Count == rest.Count) { Horizon = page.Count == rest.Count ? null : page[^1].Position };
    }

    private static List<TimelineEntry> Ordered(List<TimelineEntry> entries, bool descending)
    {
        var ordered = entries.OrderBy(entry => entry.Timestamp).ThenBy(entry => entry.Kind).ThenBy(entry => entry.Id.ToString(), StringComparer.Ordinal).ToList();
        if (descending)
        {
            ordered.Reverse();
        }

        return ordered;
    }

    private static List<TimelineEntry> Entries(Random random, int count, params EntryKind[] kinds) =>
        [.. Enumerable.Range(0, count).Select(number => Entry(Noon.AddSeconds(random.Next(0, 6)), kinds[random.Next(kinds.Length)], random.Next() + ((long)number << 32)))];

    private static TimelineEntry Entry(DateTimeOffset at, EntryKind kind, long id) => new(Id(id), at, kind, "test", "title", null, null, null, default);

    private static Guid Id(long number)
    {
        Span<byte> bytes = stackalloc byte[16];
        System.Buffers.Binary.BinaryPrimitives.WriteInt64BigEndian(bytes, number);
        return new(bytes, bigEndian: true);
    }
}
