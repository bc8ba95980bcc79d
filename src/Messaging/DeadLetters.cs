using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Routing;
using Npgsql;
using Platform.Contracts;
using Platform.ServiceDefaults;
using RabbitMQ.Client;

namespace Platform.Messaging;

/// <summary>A message whose handling failed for good. It rests in the service's dead-letter queue until somebody replays it.</summary>
/// <param name="Queue">The queue it came from and will be replayed to.</param>
/// <param name="Reason">Why the last attempt failed.</param>
public sealed record DeadLetter(string MessageId, string Queue, string Topic, int Attempts, string Reason, DateTimeOffset SentAt, JsonElement? Body);

/// <summary>
/// <c>GET /api/v1/monitoring/dead-letters/{service}</c> and <c>POST …/{messageId}/replay</c>, for admins of all realms, because a queue
/// holds messages of every realm.
/// </summary>
public static class DeadLetters
{
    /// <summary>More than this are neither listed nor searched at once: they are taken off the queue and put back.</summary>
    private const int Most = 500;

    private const int BodyBytes = 64 * 1024;

    public static IEndpointRouteBuilder MapDeadLetters(this IEndpointRouteBuilder app, string service)
    {
        var letters = app.MapGroup($"/api/v1/monitoring/dead-letters/{service}").WithTags("Dead letters").RequireAuthorization(Access.Operator);
        letters.MapGet("/", ListAsync);
        letters.MapPost("/{messageId}/replay", ReplayAsync);
        return app;
    }

    private static async Task<Ok<Envelope<Page<DeadLetter>>>> ListAsync(Broker broker, CancellationToken ct)
    {
        await using var channel = await broker.OpenChannelAsync(ct);
        var found = new List<DeadLetter>();
        // Closing the channel without acknowledging puts them all back.
        while (found.Count < Most && await channel.BasicGetAsync(broker.DeadLetterQueue, autoAck: false, ct) is { } letter)
        {
            found.Add(Describe(letter));
        }

        return TypedResults.Ok(Envelope.Page(found, null));
    }

    private static async Task<Results<Ok<Envelope<DeadLetter>>, NotFound>> ReplayAsync(
        string messageId, Caller caller, Broker broker, NpgsqlDataSource db, TimeProvider clock, CancellationToken ct)
    {
        await using var channel = await broker.OpenChannelAsync(ct);
        for (var looked = 0; looked < Most && await channel.BasicGetAsync(broker.DeadLetterQueue, autoAck: false, ct) is { } letter; looked++)
        {
            if (letter.BasicProperties.MessageId != messageId)
            {
                continue;
            }

            var described = Describe(letter);
            var properties = new BasicProperties(letter.BasicProperties) { Headers = new Dictionary<string, object?>(letter.BasicProperties.Headers!) };
            properties.Headers.Remove("attempt");
            await channel.BasicPublishAsync("", described.Queue, mandatory: true, properties, letter.Body, ct);

            // Audited before the original goes: dying here leaves a second copy, and the inbox lets one through.
            await using (var connection = await db.OpenConnectionAsync(ct))
            await using (var tx = await connection.BeginTransactionAsync(ct))
            {
                await tx.SendAsync(caller.Did("dead_letter.replayed", "message", messageId, clock.GetUtcNow()), ct);
                await tx.CommitAsync(ct);
            }

            await channel.BasicAckAsync(letter.DeliveryTag, multiple: false, ct);
            return TypedResults.Ok(Envelope.Of(described));
        }

        return TypedResults.NotFound();
    }

    private static DeadLetter Describe(BasicGetResult letter)
    {
        var properties = letter.BasicProperties;
        return new DeadLetter(
            properties.MessageId ?? "",
            Header(properties, "queue") ?? "",
            properties.Type ?? "",
            int.TryParse(Header(properties, "attempt"), out var attempts) ? attempts : 0,
            Header(properties, "reason") ?? "",
            DateTimeOffset.FromUnixTimeSeconds(properties.Timestamp.UnixTime),
            ReadBody(letter));
    }

    private static JsonElement? ReadBody(BasicGetResult letter)
    {
        try
        {
            var body = letter.BasicProperties.ContentEncoding == "br" ? Outbox.Decompress(letter.Body, BodyBytes) : letter.Body;
            return body.Length <= BodyBytes ? JsonElement.Parse(body.Span) : null;
        }
        catch (Exception error) when (error is JsonException or InvalidDataException)
        {
            return null; // unreadable or large: often the very reason it is here
        }
    }

    private static string? Header(IReadOnlyBasicProperties properties, string name) =>
        properties.Headers is { } headers && headers.TryGetValue(name, out var value) && value is byte[] bytes ? Encoding.UTF8.GetString(bytes) : null;
}
