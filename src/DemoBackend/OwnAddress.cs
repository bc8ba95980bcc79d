using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace Platform.DemoBackend;

/// <summary>Where this process listens, seen from this machine. Known once the application has started.</summary>
public sealed class OwnAddress(IServer server)
{
    public Uri Get()
    {
        var listening = server.Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault(address => address.StartsWith("http://", StringComparison.Ordinal))
            ?? throw new InvalidOperationException("The demo listens on no http:// address; set ASPNETCORE_URLS to one.");
        var address = BindingAddress.Parse(listening);
        return new UriBuilder("http", "127.0.0.1", address.Port).Uri;
    }
}
