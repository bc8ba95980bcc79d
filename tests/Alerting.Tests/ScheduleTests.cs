using System.Globalization;
using FsCheck;
using FsCheck.Fluent;
using Platform.Alerting.OnCall;

namespace Platform.Alerting.Tests;

/// <summary>Who is on call when, above all on the two days of the year that do not have 24 hours.</summary>
public sealed class ScheduleTests
{
    private static CancellationToken Ct => TestContext.Current.CancellationToken;

    private const string Berlin = "Europe/Berlin";

    private static readonly IReadOnlyList<Override> None = [];

    // In Berlin clocks go from 02:00 to 03:00 on 29 March 2026 (at 01:00Z) and from 03:00 to 02:00 on 25 October 2026 (at 01:00Z).
    [Theory]
    [InlineData("daily at nine in winter", "2026-01-10T07:59:59Z", "bob")]
    [InlineData("daily at nine in winter", "2026-01-10T08:00:00Z", "anna")]
    [InlineData("spring: still nine, now 07:00Z", "2026-03-29T06:59:59Z", "bob")]
    [InlineData("spring: still nine, now 07:00Z", "2026-03-29T07:00:00Z", "anna")]
    [InlineData("summer", "2026-03-30T06:59:59Z", "anna")]
    [InlineData("summer", "2026-03-30T07:00:00Z", "bob")]
    [InlineData("autumn: nine is 08:00Z again", "2026-10-25T07:59:59Z", "bob")]
    [InlineData("autumn: nine is 08:00Z again", "2026-10-25T08:00:00Z", "anna")]
    public void A_handover_at_nine_stays_at_nine(string because, string moment, string expected)
    {
        var schedule = Of(Daily("09:00", "2026-01-09", "bob", "anna"));
        Assert.True(expected == schedule.WhoIsOnCall(None, At(moment)), because);
    }

    [Fact]
    public void The_shift_over_a_change_is_an_hour_shorter_or_longer_and_no_other()
    {
        var schedule = Of(Daily("09:00", "2026-01-01", "anna", "bob"));

        var spring = schedule.Shifts(None, At("2026-03-27T08:00:00Z"), At("2026-03-31T07:00:00Z"), Ct);
        Assert.Equal([24, 23, 24, 24], spring.Select(shift => (shift.To - shift.From).TotalHours));
        var autumn = schedule.Shifts(None, At("2026-10-23T07:00:00Z"), At("2026-10-27T08:00:00Z"), Ct);
        Assert.Equal([24, 25, 24, 24], autumn.Select(shift => (shift.To - shift.From).TotalHours));
    }

    [Theory]
    // A handover at 02:30 does not exist on 29 March: it takes place at the jump; on 25 October the first 02:30 counts.
    [InlineData("2026-03-28T02:30:00", "2026-03-28T01:30:00Z")]
    [InlineData("2026-03-29T02:30:00", "2026-03-29T01:00:00Z")]
    [InlineData("2026-03-29T02:00:00", "2026-03-29T01:00:00Z")]
    [InlineData("2026-03-29T03:00:00", "2026-03-29T01:00:00Z")]
    [InlineData("2026-10-25T02:30:00", "2026-10-25T00:30:00Z")]
    [InlineData("2026-10-25T03:00:00", "2026-10-25T02:00:00Z")]
    public void The_wall_clock_as_a_moment(string wall, string moment) =>
        Assert.Equal(At(moment), Clocks.Moment(DateTime.Parse(wall, CultureInfo.InvariantCulture), Clocks.FindZone(Berlin)!));

    [Fact]
    public void Hourly_turns_skip_who_would_have_the_hour_that_is_skipped_and_double_the_repeated_one()
    {
        var hourly = Of(new Layer("hours", 1, RotationUnit.Hours, new(0, 0), null, new(2026, 3, 29), null, ["a", "b", "c", "d"], []));
        Assert.Equal(
            ["a 1", "b 1", "d 1", "a 1"],
            hourly.Shifts(None, At("2026-03-28T23:00:00Z"), At("2026-03-29T03:00:00Z"), Ct).Select(shift => $"{shift.User} {(shift.To - shift.From).TotalHours}"));

        hourly = Of(new Layer("hours", 1, RotationUnit.Hours, new(0, 0), null, new(2026, 10, 25), null, ["a", "b", "c", "d"], []));
        Assert.Equal(
            ["a 1", "b 1", "c 2", "d 1"],
            hourly.Shifts(None, At("2026-10-24T22:00:00Z"), At("2026-10-25T03:00:00Z"), Ct).Select(shift => $"{shift.User} {(shift.To - shift.From).TotalHours}"));
    }

    [Fact]
    public void Half_days_change_at_eight_and_at_twenty_all_year()
    {
        var schedule = Of(new Layer("halves", 12, RotationUnit.Hours, new(8, 0), null, new(2026, 3, 27), null, ["day", "night"], []));

        Assert.All(
            schedule.Shifts(None, At("2026-03-27T07:00:00Z"), At("2026-04-02T06:00:00Z"), Ct),
            shift => Assert.Equal((shift.User == "day" ? 8 : 20, 0), (Clocks.Wall(shift.From, Clocks.FindZone(Berlin)!).Hour, shift.From.Minute)));
    }

    [Fact]
    public void A_weekly_rotation_hands_over_on_its_weekday_also_when_it_starts_on_another()
    {
        var schedule = Of(new Layer("weeks", 1, RotationUnit.Weeks, new(9, 0), DayOfWeek.Monday, new(2026, 3, 18), null, ["anna", "bob"], []));

        var shifts = schedule.Shifts(None, At("2026-03-18T00:00:00Z"), At("2026-04-06T07:00:00Z"), Ct);
        Assert.Equal(
            ["- 2026-03-18T00:00Z", "anna 2026-03-18T08:00Z", "bob 2026-03-23T08:00Z", "anna 2026-03-30T07:00Z"],
            shifts.Select(shift => $"{shift.User ?? "-"} {shift.From:yyyy-MM-ddTHH:mmZ}"));
    }

    [Fact]
    public void Later_layers_lie_on_earlier_ones_in_their_hours_overrides_on_all_and_gaps_are_reported()
    {
        var office = new WeeklyHours(new(9, 0), new(17, 0), [DayOfWeek.Monday, DayOfWeek.Tuesday, DayOfWeek.Wednesday, DayOfWeek.Thursday, DayOfWeek.Friday]);
        var night = new WeeklyHours(new(22, 0), new(6, 0), []);
        var schedule = Of(
            Daily("00:00", "2026-01-01", "office") with { Name = "office", Restrictions = [office] },
            Daily("00:00", "2026-01-01", "owl") with { Name = "night", Restrictions = [night] });
        var stand = new Override(Guid.NewGuid(), "carla", At("2026-01-12T10:00:00Z"), At("2026-01-12T12:00:00Z"), "dentist", "key:a", At("2026-01-01T00:00:00Z"));
        var newer = stand with { Id = Guid.NewGuid(), User = "dora", From = At("2026-01-12T11:00:00Z"), CreatedAt = At("2026-01-02T00:00:00Z") };

        // Monday 12 January, Berlin is an hour ahead.
        Assert.Equal(
            ["owl night 0", "- - 5", "office office 8", "carla override 10", "dora override 11", "office office 12", "- - 16", "owl night 21"],
            schedule.Shifts([stand, newer], At("2026-01-12T00:00:00Z"), At("2026-01-13T00:00:00Z"), Ct).Select(shift => $"{shift.User ?? "-"} {shift.Layer ?? "-"} {shift.From.Hour}"));
        Assert.Null(schedule.WhoIsOnCall(None, At("2026-01-10T12:00:00Z")));
    }

    [Fact]
    public void A_layer_that_has_ended_leaves_the_one_below()
    {
        var schedule = Of(Daily("09:00", "2026-01-01", "anna"), Daily("09:00", "2026-02-01", "bob") with { Name = "february", EndsOn = new(2026, 3, 1) });

        Assert.Equal(["anna", "bob", "anna"], schedule.Shifts(None, At("2026-01-15T00:00:00Z"), At("2026-03-15T00:00:00Z"), Ct).Select(shift => shift.User!));
    }

    [Fact]
    public void A_time_zone_that_this_machine_does_not_know_is_UTC_and_people_are_told_so()
    {
        var schedule = Of(Daily("09:00", "2026-01-09", "bob", "anna")) with { TimeZone = "Nowhere/At_All" };

        Assert.Equal(("bob", "anna"), (schedule.WhoIsOnCall(None, At("2026-01-10T08:59:59Z")), schedule.WhoIsOnCall(None, At("2026-01-10T09:00:00Z"))));
        Assert.Contains("Nowhere/At_All", schedule.UnknownZone, StringComparison.Ordinal);
        Assert.Null(Of(Daily("09:00", "2026-01-09", "bob")).UnknownZone);
    }

    [Fact]
    public void The_shift_of_a_moment_is_looked_for_only_so_long()
    {
        var daily = Of(Daily("09:00", "2026-01-01", "anna", "bob"), Daily("09:00", "2026-02-01", "carl") with { Restrictions = [new(new(22, 0), new(6, 0), [])] });
        var (from, to) = (At("2026-02-10T12:00:00Z"), At("2026-02-17T12:00:00Z"));
        Assert.Equal(daily.Shifts(None, from, to, Ct)[0], daily.ShiftAt(None, from, to));
        Override standIn = new(Guid.NewGuid(), "dora", from.AddHours(-1), from.AddHours(2), "", "", from);
        Assert.Equal(daily.Shifts([standIn], from, to, Ct)[0], daily.ShiftAt([standIn], from, to));

        var alone = Of(new Layer("hours", 1, RotationUnit.Hours, new(0, 0), null, new(2026, 1, 1), null, ["anna"], []));
        Assert.Equal(new Shift(from, from.AddHours(Schedule.MostLooks + 1), "anna", "hours"), alone.ShiftAt(None, from, to));
    }

    [Fact]
    public void Shifts_of_a_fine_schedule_are_worked_out_for_short_times_only_and_end_when_nobody_waits()
    {
        var hours = Enumerable.Range(0, Schedule.MostRestrictions / 2).Select(i => new WeeklyHours(new(i / 6, i % 6 * 10 + 1), new(12 + i / 6, i % 6 * 10 + 2), [])).ToList();
        var schedule = Of(Daily("09:00", "2026-01-01", "anna", "bob") with { Restrictions = hours });

        Assert.False(schedule.IsTooFine(At("2026-02-01T00:00:00Z"), At("2026-03-01T00:00:00Z")));
        Assert.True(schedule.IsTooFine(At("2026-02-01T00:00:00Z"), At("2026-05-01T00:00:00Z")));
        Assert.Throws<OperationCanceledException>(() => schedule.Shifts(None, At("2026-02-01T00:00:00Z"), At("2026-02-02T00:00:00Z"), new CancellationToken(canceled: true)));
    }

    // Shifts are worked out from edges; asked one moment at a time the schedule must say the same, in every zone, over any change.
    [Fact]
    public void Shifts_tile_the_time_and_agree_with_who_is_on_call_at_every_moment() => Prop.ForAll(
        Cases(),
        one =>
        {
            var (schedule, overrides, from, hours) = one;
            var to = from.AddHours(hours);
            var shifts = schedule.Shifts(overrides, from, to, Ct);
            Assert.Equal((from, to), (shifts[0].From, shifts[^1].To));
            Assert.All(shifts, shift => Assert.True(shift.From < shift.To, "no shift is empty"));
            Assert.All(shifts.Zip(shifts.Skip(1)), pair => Assert.Equal(pair.First.To, pair.Second.From));
            for (var moment = from; moment < to; moment = moment.AddMinutes(17))
            {
                Assert.Equal(schedule.WhoIsOnCall(overrides, moment), shifts.Single(shift => shift.From <= moment && moment < shift.To).User);
            }
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(150));

    private static Arbitrary<(Schedule, IReadOnlyList<Override>, DateTimeOffset, int)> Cases()
    {
        var time = from minutes in Gen.Choose(0, 95) select new TimeOnly(0, 0).AddMinutes(15 * minutes);
        var hours =
            from start in time
            from end in time
            from weekdays in Gen.SubListOf(Enum.GetValues<DayOfWeek>())
            select new WeeklyHours(start, end, [.. weekdays]);
        var layer =
            from every in Gen.Choose(1, 30)
            from unit in Gen.Elements(Enum.GetValues<RotationUnit>())
            from handover in time
            from weekday in Gen.Elements<DayOfWeek?>(null, DayOfWeek.Monday, DayOfWeek.Sunday)
            from day in Gen.Choose(-60, 5)
            from length in Gen.Choose(0, 40)
            from people in Gen.Choose(1, 4)
            from restrictions in Gen.Choose(0, 2).SelectMany(count => Gen.ListOf(hours, count))
            select new Layer(
                $"layer {every} {unit}", every, unit, handover, weekday, new DateOnly(2026, 3, 25).AddDays(day), length < 5 ? new DateOnly(2026, 3, 25).AddDays(day + length) : null,
                [.. Enumerable.Range(0, people).Select(person => $"{unit}{person}")], [.. restrictions]);
        var standIn =
            from start in Gen.Choose(-100, 200)
            from length in Gen.Choose(1, 50)
            from made in Gen.Choose(0, 3)
            select new Override(Guid.NewGuid(), $"stand-in {start}", At("2026-03-25T00:00:00Z").AddHours(start), At("2026-03-25T00:00:00Z").AddHours(start + length), "", "", At("2026-01-01T00:00:00Z").AddHours(made));
        return (
            from zone in Gen.Elements(Berlin, "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC", "Asia/Kathmandu")
            from layers in Gen.Choose(1, 3).SelectMany(count => Gen.ListOf(layer, count))
            from overrides in Gen.Choose(0, 3).SelectMany(count => Gen.ListOf(standIn, count))
            from start in Gen.Choose(-300, 300)
            from length in Gen.Choose(1, 24 * 10)
            from year in Gen.Elements(0, 220)
            select (new Schedule("any", zone, [.. layers]), (IReadOnlyList<Override>)[.. overrides], At("2026-03-25T00:00:00Z").AddHours(start).AddDays(year), length)).ToArbitrary();
    }

    private static Schedule Of(params Layer[] layers) => new("test", Berlin, layers);

    private static Layer Daily(string handover, string start, params string[] people) =>
        new("daily", 1, RotationUnit.Days, Clocks.ParseTime(handover)!.Value, null, DateOnly.Parse(start, CultureInfo.InvariantCulture), null, people, []);

    private static DateTimeOffset At(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);
}
