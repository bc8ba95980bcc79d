using Platform.ServiceDefaults;

namespace Platform.Alerting.Tests;

/// <summary>Who may change what is found under an id.</summary>
public sealed class ChangingTests
{
    [Theory]
    [InlineData("default", null, 404)]
    [InlineData("default", "default", 0)]
    [InlineData("default", "east", 403)]
    [InlineData("default", "*", 403)]
    [InlineData("*", "*", 0)]
    [InlineData("*", "east", 0)]
    public void What_is_missing_is_404_and_what_is_of_another_realm_403(string callers, string? things, int refused)
    {
        var caller = new Caller("key:anna", Role.Moderator, callers, Scopes.All);

        var may = caller.MayChange(things is null ? null : new Thing(things), out var thing, out var refusal);

        Assert.Equal((refused == 0, refused), (may, refusal?.StatusCode ?? 0));
        Assert.Equal(refused == 0 ? things : null, thing?.Realm);
    }

    private sealed record Thing(string Realm) : IOfRealm;
}
