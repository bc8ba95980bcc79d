namespace Platform.SampleStore.Tests;

public sealed class OwnCommitsTests
{
    private static readonly DateTimeOffset Noon = new(2026, 1, 15, 12, 0, 0, TimeSpan.Zero);
    private readonly OwnCommits _own = new();
    private readonly Guid _token = Guid.NewGuid();

    [Fact]
    public void A_commit_that_the_writer_applies_is_not_applied_by_the_follower()
    {
        _own.Begin(_token, Noon);

        Assert.True(_own.Meet(_token));
        _own.Applied(_token);
        Assert.Empty(_own.Lost);
    }

    [Fact]
    public void A_commit_whose_end_is_unknown_is_applied_by_the_follower_when_it_meets_it()
    {
        _own.Begin(_token, Noon);
        _own.Failed(_token);

        Assert.Empty(_own.Lost);
        Assert.False(_own.Meet(_token));
    }

    [Fact]
    public void A_commit_that_failed_after_the_follower_had_passed_it_over_is_looked_for_again()
    {
        _own.Begin(_token, Noon);
        _own.Meet(_token);
        _own.Failed(_token);

        Assert.Equal([_token], _own.Lost);
        _own.Found([_token]);
        Assert.Empty(_own.Lost);
    }

    [Fact]
    public void What_is_settled_ends_before_the_first_commit_that_is_not()
    {
        var order = new CommitOrder();
        Assert.Equal([1, 2, 3], new[] { order.Begin(10, 5), order.Begin(12, 5), order.Begin(11, 5) });

        Assert.Equal(2, order.Settle(12));

        // The second place is not settled, so neither is the third one, although its commit is.
        Assert.Equal(1, order.Settled);
        Assert.Equal(5, order.Samples);
        Assert.Equal(1, order.Settle(13));
        Assert.Equal(3, order.Settled);
    }
}
