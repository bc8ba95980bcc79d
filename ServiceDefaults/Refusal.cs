namespace Platform.ServiceDefaults;

/// <summary>Why a policy let a caller not in, for the answer 403.</summary>
/// <param name="Detail">What was missing, and what the credential has. Of realms, it names the caller's own and the one that the request names.</param>
internal sealed record Refusal(string Detail)
{
    /// <summary>Asks the table of who may what, so that the two cannot differ.</summary>
    /// <param name="policy">Null when role, scopes and the credential's realm suffice, and only <paramref name="named"/> is out of reach.</param>
    /// <param name="named">The realm that the request names, or null.</param>
    public static Refusal Of(string? policy, Caller caller, string? named)
    {
        var missing = policy is null ? [] : Missing(policy == Access.Unnamed ? Access.AdminRead : policy, caller).ToList();
        if (!caller.Reaches(named))
        {
            missing.Add(OfRealm(named!));
        }

        return new Refusal($"Missing: {string.Join("; ", missing.Distinct())}. The credential has the role {WireJson.Name(caller.Role.ToString())}, {Words(caller.Scopes)}, and {OfRealm(caller.Realm)}.");
    }

    public static string OfRealm(string realm) => $"the realm \"{StorableText.Shorten(realm, 64)}\"";

    private static IEnumerable<string> Missing(string policy, Caller caller)
    {
        var roles = Enum.GetValues<Role>().Where(role => Access.Allows(policy, caller with { Role = role, Realm = Realm.All, Scopes = Scopes.All })).ToList();
        if (!roles.Contains(caller.Role))
        {
            // Nobody can be given the role of a service.
            var given = roles.Where(role => role is not Role.Service || roles.Count == 1).Select(role => WireJson.Name(role.ToString())).ToList();
            yield return $"the role {Problems.Listed(given, "or")}";
        }

        var enough = caller with { Role = roles.Contains(caller.Role) ? caller.Role : roles[0], Realm = Realm.All, Scopes = Scopes.All };
        var scopes = Enum.GetValues<Scopes>().Where(scope => scope is Scopes.Ingest or Scopes.Read && !caller.Scopes.HasFlag(scope) && !Access.Allows(policy, enough with { Scopes = Scopes.All & ~scope }))
            .Aggregate(Scopes.None, (all, scope) => all | scope);
        if (scopes is not Scopes.None)
        {
            yield return Words(scopes);
        }

        if (!Access.Allows(policy, enough with { Realm = caller.Realm }))
        {
            yield return OfRealm(Realm.All);
        }
    }

    private static string Words(Scopes scopes) => scopes switch
    {
        Scopes.None => "no scope",
        Scopes.All => "the scopes ingest and read",
        _ => $"the scope {WireJson.Name(scopes.ToString())}",
    };
}
