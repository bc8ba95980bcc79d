using System.Collections.Immutable;

namespace Platform.DemoBackend.Accounts;

/// <summary>Somebody who can sign in. Ten wrong passwords in a row lock the account for a minute.</summary>
public sealed record Account(string Id, string UserName, PasswordHash Password, byte[]? TotpSecret, ImmutableHashSet<string> Roles, int WrongInARow = 0, DateTimeOffset LockedUntil = default, long LastTotpStep = 0)
{
    private const int MostWrong = 10;
    private static readonly TimeSpan LockedFor = TimeSpan.FromMinutes(1);

    public bool IsLocked(DateTimeOffset now) => now < LockedUntil;

    public Account AfterWrongPassword(DateTimeOffset now) =>
        WrongInARow + 1 >= MostWrong ? this with { WrongInARow = 0, LockedUntil = now + LockedFor } : this with { WrongInARow = WrongInARow + 1 };
}

/// <summary>All accounts, in memory. Reads and updates are atomic per account.</summary>
public sealed class AccountStore
{
    // Guards both tables; nothing slow happens while it is held.
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Account> _byId = [];
    private readonly Dictionary<string, string> _idByName = new(StringComparer.OrdinalIgnoreCase);
    private readonly int _most;

    public AccountStore(DemoOptions options)
    {
        _most = options.MaxAccounts;
        TryAdd(new Account("admin", "admin", PasswordHash.Of(options.AdminPassword, options.PasswordRounds), null, ["admin"]));
    }

    public enum Added
    {
        Yes,
        NameTaken,
        Full,
    }

    public Added TryAdd(Account account)
    {
        lock (_lock)
        {
            if (_byId.Count >= _most)
            {
                return Added.Full;
            }

            if (!_idByName.TryAdd(account.UserName, account.Id))
            {
                return Added.NameTaken;
            }

            _byId.Add(account.Id, account);
            return Added.Yes;
        }
    }

    public Account? FindByName(string userName)
    {
        lock (_lock)
        {
            return _idByName.TryGetValue(userName, out var id) ? _byId[id] : null;
        }
    }

    public Account? Find(string id)
    {
        lock (_lock)
        {
            return _byId.GetValueOrDefault(id);
        }
    }

    /// <summary>Replaces the account by what <paramref name="change"/> makes of it; null when there is none.</summary>
    public Account? Update(string id, Func<Account, Account> change)
    {
        lock (_lock)
        {
            return _byId.TryGetValue(id, out var account) ? _byId[id] = change(account) : null;
        }
    }
}
