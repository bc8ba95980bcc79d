using System.Globalization;
using System.Net;
using System.Net.Mail;
using System.Security.Cryptography;
using System.Text;
using Platform.Alerting.Notifications;
using Platform.Contracts;

namespace Platform.Alerting.Channels;

/// <summary>A notification as a mail: headers, text and HTML, in ASCII with lines below 78 characters, so that every server takes it. Pure.</summary>
public static class EmailText
{
    private const int MostAlerts = 50;
    private const string Boundary = "=_platform_alternative";

    /// <summary>The whole message, lines ending in CRLF.</summary>
    /// <param name="from">An address, with or without a name.</param>
    public static string Compose(MailAddress from, IReadOnlyList<string> to, ChannelMessage message, DateTimeOffset now, string externalUrl)
    {
        var content = message.Content;
        var domain = from.Host;
        // A root that nobody ever sends keeps all mails of a group in one conversation.
        var root = $"<group-{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(message.Key())).AsSpan(0, 12))}@{domain}>";
        var urgent = content.Status == NotificationStatus.Firing && content.Severity() <= Severity.High;
        var mail = new StringBuilder();
        Header("From", from.DisplayName.Length > 0 ? $"{Encoded(from.DisplayName)} <{from.Address}>" : from.Address);
        Header("To", string.Join(",\r\n ", to));
        Header("Subject", Encoded(Wording.Title(content)));
        Header("Date", now.UtcDateTime.ToString("ddd, dd MMM yyyy HH:mm:ss '+0000'", CultureInfo.InvariantCulture));
        // The same at every attempt: servers and readers drop what they have.
        Header("Message-ID", $"<{message.Id}@{domain}>");
        Header("In-Reply-To", root);
        Header("References", root);
        Header("Auto-Submitted", "auto-generated");
        if (urgent)
        {
            Header("Importance", "high");
            Header("X-Priority", "1");
        }

        Header("MIME-Version", "1.0");
        Header("Content-Type", $"multipart/alternative; boundary=\"{Boundary}\"");
        mail.Append("\r\n");
        Part("text/plain", Wording.Text(content, externalUrl, MostAlerts));
        Part("text/html", Html(content, externalUrl));
        return mail.Append(CultureInfo.InvariantCulture, $"--{Boundary}--\r\n").ToString();

        void Header(string name, string value) => mail.Append(CultureInfo.InvariantCulture, $"{name}: {value}\r\n");

        void Part(string type, string text)
        {
            mail.Append(CultureInfo.InvariantCulture, $"--{Boundary}\r\nContent-Type: {type}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n");
            var encoded = Convert.ToBase64String(Encoding.UTF8.GetBytes(text));
            for (var at = 0; at < encoded.Length; at += 76)
            {
                mail.Append(encoded, at, Math.Min(76, encoded.Length - at)).Append("\r\n");
            }
        }
    }

    public static string Html(NotificationContent content, string externalUrl)
    {
        var resolved = content.Status == NotificationStatus.Resolved;
        var html = new StringBuilder("<!doctype html><html><body style=\"font-family:sans-serif;color:#222\">");
        html.Append(CultureInfo.InvariantCulture, $"<h2 style=\"border-left:6px solid {Colour(resolved, content.Severity())};padding-left:10px\">{Text(Wording.Title(content))}</h2>");
        foreach (var alert in content.Alerts.Take(MostAlerts))
        {
            var link = Wording.Link(alert, externalUrl);
            var name = Uri.TryCreate(link, UriKind.Absolute, out var url) && url.Scheme is "http" or "https" ? $"<a href=\"{Text(link)}\">{Text(alert.Name)}</a>" : Text(alert.Name);
            html.Append(CultureInfo.InvariantCulture, $"<h3><span style=\"color:{Colour(alert.Status == NotificationStatus.Resolved, alert.Severity)}\">{Wording.State(alert)}</span> {name}</h3><p>{Text(Wording.Summary(alert))}</p>");
            if (alert.Annotations.GetValueOrDefault("description") is { Length: > 0 } description)
            {
                html.Append(CultureInfo.InvariantCulture, $"<p>{Text(description).ReplaceLineEndings("<br>")}</p>");
            }

            html.Append("<table cellpadding=\"3\" style=\"font-size:90%\">");
            Row("when", Wording.Times(alert));
            Row("measured", Wording.Measured(alert));
            foreach (var (label, value) in alert.Labels.OrderBy(label => label.Key, StringComparer.Ordinal))
            {
                Row(label, value);
            }

            foreach (var (annotation, value) in alert.Annotations.Where(one => one.Key is not ("summary" or "description")).OrderBy(one => one.Key, StringComparer.Ordinal))
            {
                Row(annotation, value);
            }

            html.Append("</table>");
        }

        var left = content.Alerts.Count + content.TruncatedAlerts - Math.Min(MostAlerts, content.Alerts.Count);
        if (left > 0)
        {
            html.Append(CultureInfo.InvariantCulture, $"<p>… and {left} more</p>");
        }

        return html.Append(CultureInfo.InvariantCulture, $"<p style=\"color:#777;font-size:85%\">Why you get this: {Text(content.Reason)} (receiver {Text(content.Receiver)})</p></body></html>").ToString();

        void Row(string name, string value)
        {
            if (value.Length > 0)
            {
                html.Append(CultureInfo.InvariantCulture, $"<tr><td style=\"color:#777\">{Text(name)}</td><td>{Text(value)}</td></tr>");
            }
        }
    }

    /// <summary>A header's text: as it is when it is plain, else in words of RFC 2047, each whole characters and below 76.</summary>
    internal static string Encoded(string text)
    {
        if (text.Length <= 60 && text.All(character => character is >= ' ' and <= '~' and not ('"' or '=' or '<' or '>' or ',')))
        {
            return text;
        }

        var words = new List<string>();
        var word = new StringBuilder();
        var bytes = 0;
        foreach (var rune in text.EnumerateRunes())
        {
            if (bytes + rune.Utf8SequenceLength > 45)
            {
                words.Add(word.ToString());
                word.Clear();
                bytes = 0;
            }

            word.Append(Rune.IsControl(rune) ? " " : rune.ToString());
            bytes += rune.Utf8SequenceLength;
        }

        words.Add(word.ToString());
        return string.Join("\r\n ", words.Select(one => $"=?utf-8?B?{Convert.ToBase64String(Encoding.UTF8.GetBytes(one))}?="));
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    private static string Colour(bool resolved, Severity severity) => resolved ? "#2e7d32" : severity switch
    {
        Severity.Critical => "#c62828",
        Severity.High => "#e65100",
        Severity.Medium => "#f9a825",
        Severity.Low or Severity.Info => "#1565c0",
    };
}
