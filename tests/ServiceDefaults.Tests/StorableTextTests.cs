namespace Platform.ServiceDefaults.Tests;

public sealed class StorableTextTests
{
    [Theory]
    [InlineData("abc", 3, "abc")]
    [InlineData("abcd", 3, "abc")]
    [InlineData("ab😀", 3, "ab")]
    [InlineData("ab😀", 4, "ab😀")]
    [InlineData("ab😀c", 4, "ab😀")]
    public void A_cut_never_leaves_half_a_character(string text, int longest, string expected) => Assert.Equal(expected, StorableText.Cut(text, longest));

    [Theory]
    [InlineData("abcd", 4, "abcd")]
    [InlineData("abcde", 4, "abc…")]
    [InlineData("ab😀de", 4, "ab…")]
    public void What_is_shortened_says_so(string text, int longest, string expected) => Assert.Equal(expected, StorableText.Shorten(text, longest));

    // No theory: attributes cannot hold half of a character.
    [Fact]
    public void Only_what_cannot_be_stored_is_replaced()
    {
        Assert.Equal("plain ü 😀", StorableText.Clean("plain ü 😀"));
        Assert.Equal("a\uFFFDb", StorableText.Clean("a\0b"));
        Assert.Equal("a\uFFFD", StorableText.Clean("a\ud83d"));
        Assert.Equal("\uFFFD😀\uFFFD", StorableText.Clean("\ude00\ud83d\ude00\ud83d"));
    }
}
