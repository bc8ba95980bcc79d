namespace Platform.DemoBackend.Traffic;

/// <summary>Somebody with habits: an address, a browser, a second factor or none, and fingers that slip.</summary>
/// <param name="MistypesOneIn">One sign-in in so many starts with a wrong password.</param>
public sealed record Citizen(int Number, string UserName, string Password, string Address, string UserAgent, bool HasSecondFactor, int MistypesOneIn);

/// <summary>The people who use the backend, made from a seed: the same seed makes the same people.</summary>
public static class Town
{
    private static readonly string[] FirstNames =
    [
        "anna", "bela", "carlos", "dora", "emil", "fatima", "goran", "hana", "ivan", "jonas", "kira", "lena", "marek", "nora", "oskar", "petra",
        "quinn", "rosa", "sami", "tara", "uwe", "vera", "wim", "xenia", "yusuf", "zoe",
    ];

    private static readonly string[] LastNames = ["adler", "brandt", "costa", "diaz", "evans", "fischer", "garcia", "hoffmann", "ito", "jensen", "kowalski", "lopez", "meyer", "novak", "olsen", "park"];

    private static readonly string[] Browsers =
    [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        "AcmeMobile/4.2 (iPhone; iOS 18.0)",
        "AcmeMobile/4.2 (Android 15)",
    ];

    /// <param name="number">From 0; beyond the people of the start come those who register later.</param>
    public static Citizen Person(int seed, int number)
    {
        var random = new Random(HashCode(seed, number));
        var name = $"{FirstNames[number % FirstNames.Length]}.{LastNames[number / FirstNames.Length % LastNames.Length]}{(number < FirstNames.Length * LastNames.Length ? "" : number)}";

        // 198.18.0.0/15 is set aside for tests: nobody's address is used in vain.
        var address = $"198.{18 + (number / 65_000)}.{number % 65_000 / 250}.{(number % 250) + 1}";
        return new(number, name, $"{Convert.ToHexStringLower(BitConverter.GetBytes(random.NextInt64()))}-Aa1", address, Browsers[random.Next(Browsers.Length)], random.Next(3) == 0, random.Next(8, 40));
    }

    // Not System.HashCode: that one differs from process to process.
    private static int HashCode(int seed, int number) => unchecked((seed * 486_187_739) ^ (number * 16_777_619));
}
