using System.Collections.Concurrent;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Platform.Testing;
using RabbitMQ.Client;

namespace Platform.Gateway.Tests;

/// <summary>Listens where Compliance would: what arrives here was committed, relayed and confirmed.</summary>
public static class AuditQueue
{
    // One list per world, because reading takes a message off the queue and tests look for different ones.
    private static readonly ConditionalWeakTable<TestWorld, ConcurrentQueue<JsonElement>> Heard = [];
    private static readonly SemaphoreSlim Reading = new(1, 1);

    public static async Task<List<JsonElement>> ReadAsync(TestWorld world, Func<JsonElement, bool> wanted, int atLeast)
    {
        return await Eventually.GetAsync(
            async () =>
            {
                await DrainAsync(world);
                var found = Heard.GetOrCreateValue(world).Where(wanted).ToList();
                return found.Count >= atLeast ? found : null;
            },
            because: $"{atLeast} audit messages of that kind arrive");
    }

    private static async Task DrainAsync(TestWorld world)
    {
        await Reading.WaitAsync();
        try
        {
            await using var connection = await new ConnectionFactory { Uri = new Uri(world.Broker) }.CreateConnectionAsync();
            await using var channel = await connection.CreateChannelAsync();
            while (await channel.BasicGetAsync("compliance.platform.audited.v1", autoAck: true) is { } message)
            {
                Heard.GetOrCreateValue(world).Enqueue(Parse(message));
            }
        }
        finally
        {
            Reading.Release();
        }
    }

    private static JsonElement Parse(BasicGetResult message)
    {
        if (message.BasicProperties.ContentEncoding != "br")
        {
            return JsonElement.Parse(message.Body.Span);
        }

        using var plain = new BrotliStream(new MemoryStream(message.Body.ToArray()), CompressionMode.Decompress);
        using var document = JsonDocument.Parse(plain);
        return document.RootElement.Clone();
    }
}
