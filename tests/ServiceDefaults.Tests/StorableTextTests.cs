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

    [Theory]
    [InlineData("plain ü 😀", "plain ü 😀")]
    [InlineData("a\0b", "a\uFFFDb")]
    [InlineData("a\ud83d", "a\uFFFD")]
    [InlineData("\ude00\ud83d\ude00\ud83d", "\uFFFD😀\uFFFD")]
    public void Only_what_cannot_be_stored_is_replaced(string text, string expected) => Assert.Equal(expected, StorableText.Clean(text));
}
