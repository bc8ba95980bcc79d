using System.Net;
using System.Net.Sockets;

namespace Platform.ServiceDefaults;

/// <summary>What may leave the platform, and where to.</summary>
public sealed class OutboundOptions
{
    /// <summary>Networks that checks, webhooks and scrapes may connect to: CIDRs, single addresses, and the word <c>public</c> for every address that is reachable on the internet.</summary>
    [Setting("OUTBOUND_ALLOWED_NETWORKS")]
    public IReadOnlyList<string> AllowedNetworks { get; init; } = ["public"];

    /// <summary>How long a connection attempt to one address may take.</summary>
    [Setting("OUTBOUND_CONNECT_TIMEOUT_SECONDS"), System.ComponentModel.DataAnnotations.Range(1, 120)]
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>The target is not in an allowed network. The message names address, setting and remedy.</summary>
public sealed class OutboundRefusedException(string message) : IOException(message);

/// <summary>Connects to hosts outside of the platform, and only to addresses that the settings allow. The address tested is the one connected to, so a name cannot change its mind in between.</summary>
public sealed class OutboundPolicy
{
    private readonly List<IPNetwork> _networks = [];
    private readonly bool _public;
    private readonly OutboundOptions _options;

    public OutboundPolicy(OutboundOptions options)
    {
        _options = options;
        foreach (var entry in options.AllowedNetworks)
        {
            if (string.Equals(entry, "public", StringComparison.OrdinalIgnoreCase))
            {
                _public = true;
            }
            else if (IPNetwork.TryParse(entry, out var network))
            {
                _networks.Add(network);
            }
            else if (IPAddress.TryParse(entry, out var address))
            {
                _networks.Add(new IPNetwork(address, address.AddressFamily == AddressFamily.InterNetwork ? 32 : 128));
            }
            else
            {
                throw new SettingsException($"OUTBOUND_ALLOWED_NETWORKS contains \"{entry}\": expected the word public, an address, or a network such as 10.1.0.0/16. Change it, or unset it (the default is public).");
            }
        }
    }

    public bool Allows(IPAddress address)
    {
        var real = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return (_public && PublicAddress.Is(real)) || _networks.Exists(network => network.BaseAddress.AddressFamily == real.AddressFamily && network.Contains(real));
    }

    /// <summary>Resolves and connects. Allowed addresses are tried in the resolver's order; the result owns the socket.</summary>
    /// <exception cref="OutboundRefusedException">No address of the host is allowed.</exception>
    /// <exception cref="SocketException">The host does not resolve, or no allowed address answered.</exception>
    public async Task<Stream> ConnectAsync(string host, int port, CancellationToken ct)
    {
        var addresses = IPAddress.TryParse(host, out var literal) ? [literal] : await Dns.GetHostAddressesAsync(host, ct);
        var allowed = addresses.Where(Allows).ToArray();
        if (allowed.Length == 0)
        {
            throw new OutboundRefusedException(
                $"{host} is at {string.Join(", ", addresses.Take(4).AsEnumerable())}, which OUTBOUND_ALLOWED_NETWORKS ({string.Join(',', _options.AllowedNetworks)}) does not allow. If the target is meant, add its network to that setting and restart.");
        }

        SocketException? last = null;
        foreach (var address in allowed)
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            using var patience = CancellationTokenSource.CreateLinkedTokenSource(ct);
            patience.CancelAfter(_options.ConnectTimeout);
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, port), patience.Token);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException error)
            {
                socket.Dispose();
                last = error;
            }
            catch (OperationCanceledException) when (!ct.IsCancellationRequested)
            {
                socket.Dispose();
                last = new SocketException((int)SocketError.TimedOut);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }

        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }
}

/// <summary>Addresses that are reachable on the internet: everything that the IANA special-purpose registries do not set apart.</summary>
internal static class PublicAddress
{
    private static readonly IPNetwork[] Special4 = Networks(
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32");

    // Only 2000::/3 is handed out. Inside it are documentation, benchmarking and the tunnels that could smuggle a private IPv4 address.
    private static readonly IPNetwork Global6 = IPNetwork.Parse("2000::/3");
    private static readonly IPNetwork[] Special6 = Networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16");
    private static readonly IPNetwork Nat64 = IPNetwork.Parse("64:ff9b::/96");

    public static bool Is(IPAddress address)
    {
        if (address.IsIPv4MappedToIPv6)
        {
            return Is(address.MapToIPv4());
        }

        if (address.AddressFamily == AddressFamily.InterNetwork)
        {
            return !Array.Exists(Special4, network => network.Contains(address));
        }

        return Nat64.Contains(address)
            ? Is(new IPAddress(address.GetAddressBytes().AsSpan(12)))
            : Global6.Contains(address) && !Array.Exists(Special6, network => network.Contains(address));
    }

    private static IPNetwork[] Networks(params string[] networks) => Array.ConvertAll(networks, IPNetwork.Parse);
}
