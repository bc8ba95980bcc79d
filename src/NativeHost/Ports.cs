using System.Net;
using System.Net.Sockets;
using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;
using Microsoft.Extensions.Configuration;

namespace Platform.NativeHost;

/// <summary>
/// Loopback ports. <c>PLATFORM_PORT_BASE</c> (default 8080) goes to the project with external endpoints, the next one to the status page, the
/// following ones to everything else in the order of AppHost.cs, so that addresses are the same at each start. 0 takes free ports anywhere.
/// </summary>
internal sealed class Ports
{
    public const string Setting = "PLATFORM_PORT_BASE";

    // Below the ranges that systems take for outgoing connections (32768 on Linux, 49152 on macOS): while a crashed server is down, no
    // connection can be given its port.
    private const int FirstRandom = 10_000;
    private const int LastRandom = 32_000;

    private readonly int _portBase;
    private readonly Func<int, bool> _isFree;
    private readonly HashSet<int> _given = [];
    private int _next;

    public Ports(int portBase, Func<int, bool> isFree)
    {
        _portBase = portBase;
        _isFree = isFree;
        _next = portBase;
    }

    public static Ports From(IConfiguration configuration)
    {
        var text = configuration[Setting] is { Length: > 0 } configured ? configured : "8080";
        return int.TryParse(text, out var portBase) && portBase is 0 or (>= 1024 and <= 65_000)
            ? new(portBase, IsFree)
            : throw new DistributedApplicationException($"{Setting} is '{text}'; it must be a port from 1024 to 65000, or 0 for free ports.");
    }

    /// <summary>Fills in the ports of all resources and answers with the one of the status page.</summary>
    public int Allocate(IReadOnlyList<Resource> resources)
    {
        var projects = resources.OfType<ProjectResource>().Where(project => project.HasEndpoint).ToList();
        var external = projects.FirstOrDefault(project => project.IsExternal);
        if (external is not null)
        {
            external.Ports = [Next(external.Name)];
        }

        var status = Next("the status page");
        foreach (var resource in resources)
        {
            switch (resource)
            {
                case RabbitMQServerResource broker:
                    broker.Port = Next(broker.Name, broker.WantedPort);
                    broker.DistributionPort = Next(broker.Name);
                    broker.EpmdPort = Next(broker.Name);
                    broker.ManagementPort = broker.HasManagement ? Next(broker.Name) : 0;
                    break;
                case ServerResource server:
                    server.Port = Next(server.Name, server.WantedPort);
                    break;
                case ProjectResource { HasEndpoint: true } project when project != external:
                    project.Ports = [Next(project.Name)];
                    break;
            }
        }

        // Replicas come last: adding one moves nobody else's address.
        foreach (var project in projects.Where(project => project.Replicas > 1))
        {
            project.Ports = [.. project.Ports, .. Enumerable.Range(1, project.Replicas - 1).Select(_ => Next(project.Name))];
        }

        return status;
    }

    private int Next(string owner, int? wanted = null)
    {
        if (wanted is null && _portBase == 0)
        {
            return Random(owner);
        }

        var port = wanted ?? _next++;
        if (!_given.Add(port) || !_isFree(port))
        {
            throw new DistributedApplicationException(
                $"port {port}, meant for {owner}, is taken by another program. Set {Setting} to the first of about 20 free ports, for example {Setting}={_portBase + 1000}.");
        }

        return port;
    }

    private int Random(string owner)
    {
        for (var attempt = 0; attempt < 1_000; attempt++)
        {
            var port = System.Random.Shared.Next(FirstRandom, LastRandom);
            if (_isFree(port) && _given.Add(port))
            {
                return port;
            }
        }

        throw new DistributedApplicationException($"found no free port for {owner} between {FirstRandom} and {LastRandom}.");
    }

    private static bool IsFree(int port) =>
        CanListen(IPAddress.Any, port) && (!Socket.OSSupportsIPv6 || CanListen(IPAddress.IPv6Any, port));

    private static bool CanListen(IPAddress address, int port)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(address, port));
            socket.Listen();
            return true;
        }
        catch (SocketException error) when (error.SocketErrorCode is SocketError.AddressAlreadyInUse or SocketError.AccessDenied)
        {
            return false;
        }
        catch (SocketException error) when (error.SocketErrorCode is SocketError.AddressNotAvailable or SocketError.AddressFamilyNotSupported)
        {
            return true;
        }
    }
}
