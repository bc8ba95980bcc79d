using System.Globalization;
using System.Net.Mail;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text.Json;
using Platform.Alerting.Notifications;
using Platform.ServiceDefaults;

namespace Platform.Alerting.Channels;

/// <summary>
/// E-mail. A server may take some recipients now and others later (greylisting): those that have the mail are remembered with the
/// notification's id, and the next attempt is for the others.
/// </summary>
public sealed class EmailNotifier(OutboundPolicy network, SmtpSettings smtp, NotificationOptions options, TimeProvider clock) : INotifier
{
    public ChannelKind Kind => ChannelKind.Email;

    public async Task<Answer> SendAsync(Channel channel, ChannelMessage message)
    {
        var before = Told.Of(message);
        var all = channel["to"]!.Split(',');
        string[] open = [.. all.Select(one => new MailAddress(one).Address).Except(before, StringComparer.OrdinalIgnoreCase)];
        if (open.Length == 0)
        {
            return new(DeliveryOutcome.Accepted, "every recipient has it") { Memory = "" };
        }

        using var patience = new CancellationTokenSource(smtp.Timeout, clock);
        try
        {
            var (taken, notTaken) = await SendAsync(channel, message, all, open, patience.Token);
            return Judge(message, before, open, taken, notTaken);
        }
        catch (OperationCanceledException) when (patience.IsCancellationRequested)
        {
            return OutboundPost.Silent(smtp.Timeout);
        }
        catch (SmtpRefusedException error)
        {
            return new(error.Reply.IsTransient ? DeliveryOutcome.TryAgain : DeliveryOutcome.Refused, OutboundPost.Clean(error.Message), error.Reply.Code);
        }
        catch (Exception error) when (error is IOException or SocketException or AuthenticationException)
        {
            return new(DeliveryOutcome.TryAgain, OutboundPost.Clean(error.GetBaseException().Message));
        }
    }

    private async Task<(SmtpReply? Taken, IReadOnlyDictionary<string, SmtpReply> NotTaken)> SendAsync(
        Channel channel, ChannelMessage message, string[] all, string[] open, CancellationToken ct)
    {
        var smarthost = channel["smarthost"] ?? smtp.Smarthost;
        var at = smarthost.LastIndexOf(':');
        var host = smarthost[..at].Trim('[', ']');
        var from = smtp.SenderOf(channel);
        // A server of the channel's own gets the channel's own account, never that of the settings.
        var (username, password) = channel["smarthost"] is null && channel["username"] is null ? (smtp.Username, smtp.Password) : (channel["username"] ?? "", channel["password"] ?? "");
        var tls = channel["tls"] ?? (channel["smarthost"] is null ? smtp.Tls : "starttls");

        var stream = await network.ConnectAsync(host, int.Parse(smarthost.AsSpan(at + 1), CultureInfo.InvariantCulture), ct);
        await using var conversation = await SmtpConversation.BeginAsync(stream, host, channel["hello"] ?? "platform-alerting.invalid", tls, ct);
        if (username.Length > 0)
        {
            await conversation.AuthenticateAsync(username, password, ct);
        }

        var result = await conversation.SendAsync(from.Address, open, EmailText.Compose(from, all, message, clock.GetUtcNow(), options.ExternalUrl), ct);
        await conversation.QuitAsync(ct);
        return result;
    }

    internal static Answer Judge(ChannelMessage message, IReadOnlyList<string> before, string[] open, SmtpReply? taken, IReadOnlyDictionary<string, SmtpReply> notTaken)
    {
        var later = notTaken.Where(one => one.Value.IsTransient).ToArray();
        var never = notTaken.Where(one => !one.Value.IsTransient).ToArray();
        var reply = taken ?? notTaken.Values.First();
        var words = OutboundPost.Clean(string.Join("; ", notTaken.Select(one => $"{one.Key}: {one.Value}")));
        if (later.Length > 0)
        {
            // Those that will never be taken need not be asked again either.
            var done = before.Concat(taken is null ? [] : open.Except(notTaken.Keys)).Concat(never.Select(one => one.Key));
            return new(DeliveryOutcome.TryAgain, $"not every recipient was taken: {words}", reply.Code) { Memory = Told.Memory(message, done) };
        }

        return taken is null && before.Count == 0
            ? new(DeliveryOutcome.Refused, $"no recipient was taken: {words}", reply.Code)
            : new(DeliveryOutcome.Accepted, never.Length == 0 ? "accepted" : $"accepted, but not for everybody: {words}", reply.Code, null, OutboundPost.Clean(reply.ToString())) { Memory = "" };
    }

    // Which recipients are done with, of this notification only.
    private sealed record Told(Guid Id, IReadOnlyList<string> Recipients)
    {
        public static IReadOnlyList<string> Of(ChannelMessage message) =>
            message.Memory is { } memory && JsonSerializer.Deserialize<Told>(memory) is { } told && told.Id == message.Id ? told.Recipients : [];

        public static string Memory(ChannelMessage message, IEnumerable<string> recipients) => JsonSerializer.Serialize(new Told(message.Id, [.. recipients]));
    }
}
