using System.Net;

namespace Platform.DemoBackend.Accounts;

/// <summary>
/// Where the addresses of the demo are: its people live in a few towns near each other, whoever guesses passwords is far away. A real
/// application asks a database of addresses.
/// </summary>
internal static class Places
{
    private static readonly (double Latitude, double Longitude)[] Towns = [(48.137, 11.575), (48.371, 10.898), (49.453, 11.077), (47.811, 13.033), (47.269, 11.393)];

    private static readonly IPNetwork People = IPNetwork.Parse("198.18.0.0/15");
    private static readonly IPNetwork[] Strangers = [IPNetwork.Parse("203.0.113.0/24"), IPNetwork.Parse("198.51.100.0/24")];

    /// <summary>Degrees; null for an address that nobody knows.</summary>
    public static (double Latitude, double Longitude)? Of(IPAddress? address)
    {
        if (address is null)
        {
            return null;
        }

        var plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return People.Contains(plain) ? Towns[plain.GetAddressBytes()[3] % Towns.Length]
            : Array.Exists(Strangers, network => network.Contains(plain)) ? (-33.869, 151.209)
            : null;
    }
}
