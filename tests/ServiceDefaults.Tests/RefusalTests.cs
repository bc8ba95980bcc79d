namespace Platform.ServiceDefaults.Tests;

public sealed class RefusalTests
{
    [Theory]
    [InlineData(Access.ModeratorWrite, Role.User, Scopes.Read, null, "Missing: the role moderator or admin; the scope ingest. The credential has the role user, the scope read, and the realm \"home\".")]
    [InlineData(Access.UserRead, Role.Auditor, Scopes.All, null, "Missing: the role user, moderator or admin. The credential has the role auditor, the scopes ingest and read, and the realm \"home\".")]
    [InlineData(Access.Ingest, Role.User, Scopes.Read, null, "Missing: the scope ingest. The credential has the role user, the scope read, and the realm \"home\".")]
    [InlineData(Access.UserRead, Role.User, Scopes.Ingest, "home", "Missing: the scope read. The credential has the role user, the scope ingest, and the realm \"home\".")]
    [InlineData(Access.Audit, Role.Moderator, Scopes.None, null, "Missing: the role admin or auditor; the scope read. The credential has the role moderator, no scope, and the realm \"home\".")]
    [InlineData(Access.Operator, Role.Admin, Scopes.All, null, "Missing: the realm \"*\". The credential has the role admin, the scopes ingest and read, and the realm \"home\".")]
    [InlineData(Access.Operator, Role.User, Scopes.None, "*", "Missing: the role admin; the scopes ingest and read; the realm \"*\". The credential has the role user, no scope, and the realm \"home\".")]
    [InlineData(Access.Service, Role.Admin, Scopes.All, null, "Missing: the role service. The credential has the role admin, the scopes ingest and read, and the realm \"home\".")]
    [InlineData(Access.Unnamed, Role.User, Scopes.All, null, "Missing: the role admin. The credential has the role user, the scopes ingest and read, and the realm \"home\".")]
    [InlineData(Access.AdminRead, Role.User, Scopes.All, "abroad", "Missing: the role admin; the realm \"abroad\". The credential has the role user, the scopes ingest and read, and the realm \"home\".")]
    [InlineData(null, Role.Admin, Scopes.All, "abroad", "Missing: the realm \"abroad\". The credential has the role admin, the scopes ingest and read, and the realm \"home\".")]
    public void What_was_missing_and_what_the_credential_has(string? policy, Role role, Scopes scopes, string? named, string detail) =>
        Assert.Equal(detail, Refusal.Of(policy, new Caller("key:a", role, "home", scopes), named).Detail);

    [Fact]
    public void Whoever_is_refused_learns_of_something_that_is_missing()
    {
        string[] policies = [Access.Ingest, Access.UserRead, Access.UserWrite, Access.ModeratorRead, Access.ModeratorWrite, Access.AdminRead, Access.AdminWrite, Access.Operator, Access.Audit, Access.Service];
        var refused = policies.SelectMany(policy => Enum.GetValues<Role>().SelectMany(role => Enum.GetValues<Scopes>().SelectMany(scopes => new[] { "home", Realm.All }
            .Select(realm => (Policy: policy, Caller: new Caller("key:a", role, realm, scopes))))))
            .Where(one => !Access.Allows(one.Policy, one.Caller)).ToList();

        Assert.NotEmpty(refused);
        Assert.All(refused, one => Assert.StartsWith("Missing: the ", Refusal.Of(one.Policy, one.Caller, null).Detail, StringComparison.Ordinal));
    }
}
