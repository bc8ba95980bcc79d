using System.Buffers.Text;
using System.Security.Cryptography;
using Aspire.Hosting;
using Aspire.Hosting.ApplicationModel;
using Microsoft.Extensions.Configuration;

namespace Platform.NativeHost;

/// <summary>
/// Gives each parameter its value: configuration (<c>Parameters:name</c>) first, then the value in AppHost.cs, then, for secrets, 32 random
/// bytes that are made once and kept in <c>secrets.json</c> (mode 0600).
/// </summary>
internal static class Secrets
{
    private const string FileName = "secrets.json";

    public static void Resolve(IEnumerable<ParameterResource> parameters, IConfiguration configuration, HostFolder folder)
    {
        var kept = folder.Read<SortedDictionary<string, string>>(FileName) ?? [];
        var known = kept.Count;
        foreach (var parameter in parameters)
        {
            parameter.Resolved = configuration[$"Parameters:{parameter.Name}"] ?? parameter.Literal ?? Kept(parameter, kept);
        }

        if (kept.Count > known)
        {
            folder.Write(FileName, kept);
        }
    }

    private static string Kept(ParameterResource parameter, SortedDictionary<string, string> kept)
    {
        if (!parameter.Secret)
        {
            throw new DistributedApplicationException(
                $"the parameter '{parameter.Name}' has no value. Set the environment variable Parameters__{parameter.Name}.");
        }

        if (!kept.TryGetValue(parameter.Name, out var value))
        {
            value = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));
            kept.Add(parameter.Name, value);
        }

        return value;
    }
}
