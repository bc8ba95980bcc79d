using Platform.Compliance.Audit;
using Platform.Contracts;

namespace Platform.Compliance.Tests;

public sealed class AuditEntryTests
{
    private static readonly Audited Said = new(
        "default", "key:1", "admin", "role.assigned", "user", "user:7", AuditOutcome.Success, new DateTimeOffset(2026, 1, 15, 12, 0, 0, TimeSpan.Zero), "203.0.113.9",
        Details: new Dictionary<string, string> { ["role"] = "moderator", ["email"] = "seven@example.org" });

    [Fact]
    public void What_belongs_to_a_person_is_kept_apart_with_its_owner()
    {
        var entry = AuditEntry.From(Said);

        Assert.Null(entry.TargetId);
        Assert.Equal(new Dictionary<string, string> { ["role"] = "moderator" }, entry.Details);
        Assert.Equal(
            [new("actor", "key:1", "key:1"), new("source_address", "203.0.113.9", "key:1"), new("target_id", "user:7", "user:7"), new("details.email", "seven@example.org", "user:7")],
            entry.Personal);
    }

    [Fact]
    public void The_address_of_an_anonymous_caller_is_its_own_subject() =>
        Assert.Contains(new PersonalValue("source_address", "203.0.113.9", "203.0.113.9"), AuditEntry.From(Said with { Actor = "anonymous" }).Personal);

    [Fact]
    public void A_target_that_is_no_person_stays_readable() =>
        Assert.Equal("rule-1", AuditEntry.From(Said with { TargetType = "rule", TargetId = "rule-1" }).TargetId);

    [Fact]
    public void Sizes_are_bounded_and_say_so()
    {
        var many = Enumerable.Range(0, 40).ToDictionary(i => $"detail_{i:00}", _ => new string('x', 5_000));

        var entry = AuditEntry.From(Said with { TargetType = "rule", TargetId = new string('t', 5_000), Details = many });

        Assert.Equal(AuditEntry.MaxValue, entry.TargetId!.Length);
        Assert.EndsWith("…", entry.TargetId, StringComparison.Ordinal);
        Assert.Equal("8", entry.Details["details_left_out"]);
        Assert.All(entry.Details.Values, value => Assert.True(value.Length <= AuditEntry.MaxValue));
    }

    [Fact]
    public void Text_that_no_database_or_hash_can_hold_does_not_stop_the_record()
    {
        var entry = AuditEntry.From(Said with { Action = "a\0b\ud800c😀" });

        Assert.Equal("a\uFFFDb\uFFFDc😀", entry.Action);
    }
}
